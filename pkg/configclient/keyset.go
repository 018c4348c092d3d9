package configclient

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/secret"
)

// keysetEvery is how often the file of the keyset is looked at: a key that comes late needs no change of the configuration.
const keysetEvery = time.Second

// undecrypted is why a secret of a resource is not in clear.
type undecrypted struct{ err error }

func (u *undecrypted) Unwrap() error { return u.err }

// Error names what an operator can do.
func (u *undecrypted) Error() string {
	text := u.err.Error()
	if errors.Is(u.err, secret.ErrUnknownKey) {
		return text + ": give this service the keyset of config, secrets.keyset_file is read again when it changes; or give the secret again"
	}
	return text + ": give the secret again"
}

// followKeyset decrypts again what the keyset did not decrypt, after each change of its file, until ctx ends.
func (s *Source) followKeyset(ctx context.Context) {
	tick := time.NewTicker(keysetEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.decryptAgain()
		case <-ctx.Done():
			return
		}
	}
}

// decryptAgain replaces the snapshots in memory whose secrets another version of the keyset may decrypt.
func (s *Source) decryptAgain() {
	version := s.form.keyset.Version()
	s.mu.Lock()
	all := append(slices.Clone(s.cache), s.sent, s.used)
	s.mu.Unlock()
	parts, renewed := map[*part]*part{}, map[*Snapshot]*Snapshot{}
	for _, old := range all {
		if old == nil || !old.undecrypted || renewed[old] != nil {
			continue
		}
		again, err := s.form.again(old, version, parts)
		if err != nil { // it was read before
			s.log.Error("secrets not decrypted again", zap.Int64("revision", old.Revision), zap.Error(err))
			continue
		}
		if again != old {
			renewed[old] = again
		}
	}
	if len(renewed) == 0 {
		return
	}
	take := func(at **Snapshot) {
		if again := renewed[*at]; again != nil {
			*at = again
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.cache {
		take(&s.cache[i])
	}
	take(&s.sent)
	take(&s.used)
	for _, again := range renewed {
		if again.Revision == s.read {
			s.missing = again.unreadable
		}
	}
	s.log.Info("keyset changed, secrets are decrypted again", zap.Int("parts", len(parts)))
	close(s.changed)
	s.changed = make(chan struct{})
}

// again is a snapshot with those parts decoded again that another version of the keyset did not decrypt; the same one where there
// are none. done are parts that were decoded again already: snapshots share them.
func (f form) again(old *Snapshot, version int, done map[*part]*part) (*Snapshot, error) {
	lists := map[protoreflect.FullName]*list{}
	for kind, l := range old.lists {
		for b, p := range l {
			if p == nil || !p.undecrypted || p.keysetVersion == version {
				continue
			}
			if done[p] == nil {
				again, err := f.read(p.body)
				if err != nil {
					return nil, err
				}
				done[p] = again
			}
			if lists[kind] == nil {
				lists[kind] = new(list)
				*lists[kind] = *l
			}
			lists[kind][b] = done[p]
		}
	}
	if len(lists) == 0 {
		return old, nil
	}
	out := &Snapshot{Revision: old.Revision, History: old.History, ApplyRevision: old.ApplyRevision, standsIn: old.standsIn, lists: maps.Clone(old.lists)}
	maps.Copy(out.lists, lists)
	out.derive(old)
	return out, nil
}

// keysetUnreadable is the incident of a keyset whose file can't be read: what was read before stays in use.
func (s *Source) keysetUnreadable() []*daemon.Incident {
	if err := s.form.keyset.Check(); err != nil {
		return []*daemon.Incident{{Code: reason.KeysetUnreadable, Detail: err.Error()}}
	}
	return nil
}
