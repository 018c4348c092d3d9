package configclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// AccessStore keeps the tenants' keys for all replicas of a service, so that it knows them, and those that were
// withdrawn, when it starts while the configuration service is away.
type AccessStore interface {
	// GetAccess reads what PutAccess keeps for a service; nil where there is none.
	GetAccess(ctx context.Context, service string) ([]byte, error)
	// PutAccess keeps the keys as of a revision. kept is false where the store has those of a later one.
	PutAccess(ctx context.Context, service string, revision int64, body []byte) (kept bool, err error)
}

const (
	// keysRetry is how often keys are read again that could not be read, or not be kept.
	keysRetry = 250 * time.Millisecond
	// keysTimeout bounds one reading, keptTimeout one use of the store: a withdrawal is in force within 2 s also where the
	// store does not answer.
	keysTimeout = 5 * time.Second
	keptTimeout = 700 * time.Millisecond
)

// keysFormat begins the keys in the store.
const keysFormat = 1

// keyFollower gives an authorizer the tenants' keys of the newest revision.
type keyFollower struct {
	source     *Source
	service    string
	store      AccessStore
	encryption *encryption // nil without a key to encrypt with
	replace    func([]access.Key)

	// at is what was read from the service, revision the number of what is in force, -1 while nothing is.
	at       state.Revision
	revision int64
	unsaved  *configv1.Snapshot
	failed   string
}

// FollowKeys gives replace the tenants' keys, and again after each change of them, until the context of Open ends. They
// go into store before they are in force, encrypted by what the service's own API key yields: a service starts with every
// withdrawal that one of its replicas has applied. store may be nil.
func (s *Source) FollowKeys(ctx context.Context, service string, store AccessStore, replace func([]access.Key)) error {
	f := &keyFollower{source: s, service: service, store: store, replace: replace, revision: -1}
	if s.key == "" || store == nil {
		f.store = nil
		s.log.Warn("tenants' API keys are not kept: without config they are not known at a start; that needs Redis and config.api_key_file")
	} else {
		encrypted, err := newEncryption(s.key, "tollgate tenants' keys of "+service)
		if err != nil {
			return err
		}
		f.encryption = encrypted
	}
	s.running.Go(func() { f.run(ctx) })
	return nil
}

func (f *keyFollower) run(ctx context.Context) {
	retry := time.NewTicker(keysRetry)
	defer retry.Stop()
	for ctx.Err() == nil {
		changed := f.source.Changed()
		f.turn(ctx)
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
		}
	}
}

// turn brings the newest keys in force, from the configuration service where that answers, else from the store.
func (f *keyFollower) turn(ctx context.Context) {
	head, at := f.source.accessHead()
	var err error
	switch {
	case head == nil && f.store != nil:
		err = f.recall(ctx)
	case head != nil && (at != f.at || f.revision < 0):
		err = f.advance(ctx, head, at)
	}
	if err == nil && f.unsaved != nil {
		err = f.save(ctx)
	}
	switch {
	case err == nil:
		f.failed = ""
	case ctx.Err() == nil && err.Error() != f.failed:
		f.failed = err.Error()
		f.source.log.Warn("tenants' API keys not followed, trying again", zap.Error(err))
	}
}

// accessHead is the head of a service that is followed now, and its revision. It is nil while none is: a head that was followed
// before, or that the store had, can't be asked for.
func (s *Source) accessHead() (head *configv1.WatchResponse, at state.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || s.watchErr != nil || s.refused != nil {
		return nil, at
	}
	return s.newest, state.Revision{History: s.newest.GetHistory(), Number: s.newest.GetRevision()}
}

func (f *keyFollower) advance(ctx context.Context, head *configv1.WatchResponse, at state.Revision) error {
	m := &configv1.Snapshot{}
	if head.GetRevision() > 0 {
		reading, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		parts, err := f.source.client.Snapshot(reading, &configv1.SnapshotRequest{
			Revision: head.GetRevision(), History: head.GetHistory(), Lists: []string{keysList},
		})
		if err == nil {
			m, err = Collect(parts, nil)
		}
		if err != nil {
			return fmt.Errorf("read tenants' keys of revision %d: %w", head.GetRevision(), err)
		}
	}
	// The store comes first: a replica that ends in between starts without the key that was withdrawn.
	f.unsaved = m
	err := f.save(ctx)
	f.apply(m)
	f.at = at
	return err
}

const keysList = "api_keys"

func (f *keyFollower) apply(m *configv1.Snapshot) {
	keys := make([]access.Key, 0, len(m.GetApiKeys()))
	for _, one := range m.GetApiKeys() {
		k, err := access.Decode(one)
		if err != nil {
			f.source.log.Error("an API key can't be read, and is refused", zap.Error(err))
			continue
		}
		keys = append(keys, k)
	}
	f.replace(keys)
	f.revision = m.GetRevision()
	f.source.log.Info("tenants' API keys in force", zap.Int64("revision", m.GetRevision()), zap.Int("keys", len(keys)))
}

func (f *keyFollower) save(ctx context.Context) error {
	if f.store == nil {
		f.unsaved = nil
		return nil
	}
	content, err := proto.Marshal(f.unsaved)
	if err != nil {
		return fmt.Errorf("keep tenants' keys: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	kept, err := f.store.PutAccess(ctx, f.service, f.unsaved.GetRevision(), f.encryption.encrypt([]byte{keysFormat}, content, f.bound()))
	if err != nil {
		return fmt.Errorf("keep tenants' keys of revision %d: %w", f.unsaved.GetRevision(), err)
	}
	if !kept {
		f.source.log.Debug("the store has the tenants' keys of a later revision", zap.Int64("revision", f.unsaved.GetRevision()))
	}
	f.unsaved = nil
	return nil
}

func (f *keyFollower) bound() []byte { return append([]byte{keysFormat}, f.service...) }

var errEncryptedElse = errors.New("what the store has is of another format, or encrypted by another config.api_key_file: it is replaced once the configuration service answers")

// recall brings what the store keeps in force, where that is newer: another replica may have learned more.
func (f *keyFollower) recall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keptTimeout)
	defer cancel()
	body, err := f.store.GetAccess(ctx, f.service)
	if err != nil || body == nil {
		return err
	}
	if body[0] != keysFormat {
		return errEncryptedElse
	}
	content, err := f.encryption.decrypt(body[1:], f.bound())
	if err != nil {
		return errEncryptedElse
	}
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(content, m); err != nil {
		return errEncryptedElse
	}
	if m.GetRevision() > f.revision {
		f.apply(m)
		f.source.note(state.Revision{History: m.GetHistory(), Number: m.GetRevision()}) // a service that is behind it is not followed
	}
	return nil
}
