package configclient

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.uber.org/zap"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Suppressions are the suppressions of all tenants, as the configuration service has them. They are no part of a
// revision. Safe for many goroutines.
type Suppressions struct {
	source *Source

	mu sync.Mutex
	// names are those in force; incoming replaces them once it is complete, nil while none is on its way.
	names, incoming *names
	complete        bool // once
	ready           chan struct{}
	changed         chan struct{}
	position        *configv1.Position
	read            int64 // the revision of names
	err             error // why they are not followed; nil while they are
	unsaved         bool  // the store has an earlier list
}

// nameHash stands for a name: a million of them take some 40 MB.
type nameHash [16]byte

func hashOf(name string) nameHash {
	sum := sha256.Sum256([]byte(name))
	return nameHash(sum[:16])
}

// names are in buckets, by the first byte of their hashes: one is a part in the store.
type names struct {
	of [buckets]map[nameHash]struct{}
	// address of each bucket in the store, empty where that is not known; n is how many names there are.
	address [buckets]string
	n       int
}

func (n *names) has(h nameHash) bool {
	_, ok := n.of[h[0]][h]
	return ok
}

func (n *names) set(h nameHash, in bool) {
	if n.has(h) == in {
		return
	}
	n.address[h[0]] = ""
	if !in {
		delete(n.of[h[0]], h)
		n.n--
		return
	}
	if n.of[h[0]] == nil {
		n.of[h[0]] = map[nameHash]struct{}{}
	}
	n.of[h[0]][h] = struct{}{}
	n.n++
}

// FollowSuppressions follows the suppressions until ctx ends; Close waits for that. What is known stays in force while
// the configuration service is away. It needs a key of a service, and is called once.
func (s *Source) FollowSuppressions(ctx context.Context) *Suppressions {
	p := &Suppressions{source: s, names: &names{}, ready: make(chan struct{}), changed: make(chan struct{}), err: errors.New("not connected yet")}
	s.health.Check("suppressions", p.check)
	s.running.Go(func() {
		reconnect(ctx, func() (bool, error) { return p.watch(ctx) }, p.lost)
	})
	if s.encryption != nil {
		s.running.Go(func() { p.keep(ctx) })
	}
	return p
}

// Has reports whether a suppression has this resource name. It is false of all before Ready.
func (p *Suppressions) Has(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names.has(hashOf(name))
}

// Includes reports whether Has counts a change of a revision.
func (p *Suppressions) Includes(revision int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read >= revision
}

// Ready is closed once all suppressions were read; before that nothing may be sent.
func (p *Suppressions) Ready() <-chan struct{} { return p.ready }

// Changed returns a channel that is closed when the result of Has or Includes may change; get it before calling them.
func (p *Suppressions) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// check is an error while they were never read.
func (p *Suppressions) check() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.complete {
		return nil
	}
	return fmt.Errorf("no suppressions yet: %w", p.err)
}

func (p *Suppressions) lost(err error) {
	p.mu.Lock()
	before := p.err
	p.err = err
	p.mu.Unlock()
	if before == nil || before.Error() != err.Error() {
		p.source.log.Warn("suppressions not followed, trying again", zap.Error(err))
	}
}

// watch runs one stream from its first part to its end.
func (p *Suppressions) watch(ctx context.Context) (received bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timeout := time.AfterFunc(watchTimeout, func() { cancel(errWatchTimeout) })
	defer timeout.Stop()
	p.mu.Lock()
	after := p.position
	p.mu.Unlock()
	stream, err := p.source.client.WatchSuppressions(ctx, &configv1.WatchSuppressionsRequest{After: after})
	if err != nil {
		return false, fmt.Errorf("watch suppressions: %w", err)
	}
	for {
		part, err := stream.Recv()
		switch {
		case errors.Is(context.Cause(ctx), errWatchTimeout):
			return received, errWatchTimeout
		case errors.Is(err, io.EOF):
			return received, errors.New("the configuration service ended the watch of suppressions")
		case err != nil:
			return received, fmt.Errorf("watch suppressions: %w", err)
		}
		timeout.Reset(watchTimeout)
		received = true
		p.take(part)
	}
}

// take applies one part. After a reset those in force stay until the new ones are complete: an address must not get
// e-mail because the service was restored.
func (p *Suppressions) take(part *configv1.WatchSuppressionsResponse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err, p.position = nil, part.GetPosition()
	if part.GetReset_() {
		p.incoming = &names{}
	}
	into := p.names
	if p.incoming != nil {
		into = p.incoming
	}
	for _, name := range part.GetAdded() {
		into.set(hashOf(name), true)
	}
	for _, name := range part.GetRemoved() {
		into.set(hashOf(name), false)
	}
	if !part.GetComplete() {
		return
	}
	if p.read != p.position.GetRevision() || p.incoming != nil {
		p.unsaved = true
	}
	p.read = p.position.GetRevision()
	if p.incoming != nil {
		p.names, p.incoming = p.incoming, nil
		p.source.log.Info("suppressions read", zap.Int("number", p.names.n))
	}
	p.announce()
}

// announce requires mu.
func (p *Suppressions) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
	if !p.complete {
		p.complete = true
		close(p.ready)
	}
}
