package config

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/config/store"
)

// decode reads a stored version with its secrets in clear: for a comparison, or to be masked. One that can't be decrypted stays
// as it is, which no change lets pass.
func (s *service) decode(k *kind, v store.Version) (resource, error) {
	r, err := k.decode(v)
	if err == nil && k.secrets != nil {
		s.decrypt(k.secrets, r)
	}
	return r, err
}

func (s *service) decrypt(k *channel.Kind, r resource) {
	if err := k.Decrypt(r, s.keyset); err != nil {
		s.log.Error("secret can't be decrypted, its resource is not sent to until it is given again", zap.String("name", r.GetName()), zap.Error(err))
	}
}

// encrypted is a copy as it is stored, with the key; the resource itself where its kind has no secrets.
func (s *service) encrypted(k *kind, r resource) (resource, secret.KeyID, error) {
	if k.secrets == nil {
		return r, 0, nil
	}
	r = clone(r)
	key, err := k.secrets.Encrypt(r, s.keyset)
	return r, key, err
}

// unreadable adds the secrets that could not be decrypted, or look as if they were encrypted.
func unreadable(f *fault.Violations, k *kind, r resource) {
	if k.secrets == nil {
		return
	}
	for _, field := range k.secrets.Encrypted(r) {
		f.AddAs(reason.SecretUnreadable, field, "the stored one can't be decrypted: give it again; one that is given must not begin with %q", secret.Prefix)
	}
}

// encryptEvery is how often the file of the keyset is looked at for another primary key.
const encryptEvery = 5 * time.Second

// keepEncrypting encrypts anew what is under an old key, when the primary key changes and at the start, until ctx ends.
func (s *service) keepEncrypting(ctx context.Context) {
	ticker := time.NewTicker(encryptEvery)
	defer ticker.Stop()
	var failed string
	for {
		if err := s.encryptAnew(ctx); err != nil && ctx.Err() == nil && err.Error() != failed {
			failed = err.Error()
			s.log.Error("secrets not encrypted with the primary key, trying again", zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *service) encryptAnew(ctx context.Context) error {
	if err := s.keyset.Check(); err != nil {
		s.unread.Store(&daemon.Incident{Code: reason.KeysetUnreadable, Detail: err.Error()})
		return err
	}
	s.unread.Store(nil)
	done, err := s.store.Reencrypt(ctx, s.clock())
	if err != nil {
		return err
	}
	if done.Revision > 0 {
		s.announce(ctx)
		s.log.Info("secrets encrypted with another key", zap.Stringer("key", s.keyset.Primary()), zap.Int("versions", done.Rows),
			zap.Int64("revision", done.Revision))
	}
	if n := len(done.Failed); n > 0 {
		return fmt.Errorf("%d versions keep their key, the first: %w", n, done.Failed[0])
	}
	return nil
}
