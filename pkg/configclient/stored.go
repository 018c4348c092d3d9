package configclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// storedFormat begins the head of each revision in the store. A binary that finds another format reads the revision from the
// configuration service.
const storedFormat = 3

// putTimeout bounds the writing of one revision: at first all of its parts, up to hundreds of MB.
const putTimeout = 15 * time.Second

// partsAtOnce are read or written together, and so twice in memory.
const partsAtOnce = 32

// errRefused: somebody else wrote it, or changed it.
var errRefused = errors.New("what the store has is not what a replica of this service wrote: it was changed, or is encrypted by another config.api_key_file. " +
	"It is not followed, and is replaced once the configuration service answers")

// addresses are those of all parts, in an order of their own.
func (s *Snapshot) addresses() (all []string, parts []*part) {
	for _, kind := range allLists {
		for _, p := range s.lists[kind].parts() {
			all, parts = append(all, p.address), append(parts, p)
		}
	}
	return all, parts
}

// put stores a revision, with those of its parts that the store does not have.
func (s *Source) put(ctx context.Context, found *Snapshot) error {
	r := state.Revision{History: found.History, Number: found.Revision}
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(&configv1.Snapshot{
		Revision: found.Revision, History: found.History, ApplyRevision: found.ApplyRevision, StandsIn: found.standsIn,
	})
	if err != nil {
		return fmt.Errorf("encode revision %s: %w", r, err)
	}
	addresses, parts := found.addresses()
	head := append([]byte{storedFormat}, content...)
	if s.seal != nil {
		head = s.seal.close([]byte{storedFormat}, content, s.bound(addresses))
	}
	// A sweep of another process may delete parts that no revision lists yet.
	for range 5 {
		missing, err := s.store.PutRevision(ctx, s.space, r, head, addresses)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		for some := range slices.Chunk(missing, partsAtOnce) {
			names, bodies := make([]string, len(some)), make([][]byte, len(some))
			for i, n := range some {
				if n < 0 || n >= len(parts) {
					return fmt.Errorf("keep revision %s: the store asks for part %d of %d", r, n, len(parts))
				}
				names[i], bodies[i] = addresses[n], parts[n].body
				if s.seal != nil {
					bodies[i] = s.seal.close(nil, parts[n].body, s.bound(names[i:i+1]))
				}
			}
			if err := s.store.PutParts(ctx, s.space, names, bodies); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("keep revision %s: parts of it are deleted as often as they are written", r)
}

// bound is what something sealed belongs to.
func (s *Source) bound(addresses []string) []byte {
	return []byte(string(rune(storedFormat)) + s.space + "\x00" + strings.Join(addresses, ""))
}

// stored reads a revision from the store; nil where that has none, or one that this binary can't read. Parts that are in memory are
// not read.
func (s *Source) stored(ctx context.Context, r state.Revision) (*Snapshot, error) {
	if s.store == nil {
		return nil, nil
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	found, err := s.assemble(ctx, r)
	switch {
	case errors.Is(err, errRefused):
		s.refuseStore(err)
		s.log.Error("revision in the store is refused", zap.Stringer("revision", r), zap.Error(err))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read revision %s from the store: %w", r, err)
	case found == nil:
		return nil, nil
	}
	s.refuseStore(nil)
	s.took(found, fromStore, begin)
	return found, nil
}

func (s *Source) assemble(ctx context.Context, r state.Revision) (*Snapshot, error) {
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	head, addresses, err := s.store.GetRevision(asking, s.space, r)
	if err != nil || len(head) == 0 || head[0] != storedFormat {
		return nil, err
	}
	content := head[1:]
	if s.seal != nil {
		if content, err = s.seal.open(content, s.bound(addresses)); err != nil {
			return nil, errRefused
		}
	}
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(content, m); err != nil || m.GetRevision() != r.Number || m.GetHistory() != r.History {
		return nil, errRefused
	}
	at := s.partsAtHand()
	var unknown []string
	for _, a := range addresses {
		if at[a] == nil {
			unknown = append(unknown, a)
		}
	}
	for some := range slices.Chunk(unknown, partsAtOnce) {
		bodies, err := s.store.GetParts(ctx, s.space, some)
		if err != nil {
			return nil, err
		}
		for i, body := range bodies {
			if body == nil {
				return nil, nil // it goes at this moment
			}
			if s.seal != nil {
				if body, err = s.seal.open(body, s.bound(some[i:i+1])); err != nil {
					return nil, errRefused
				}
			}
			if s.form.address(body) != some[i] {
				return nil, errRefused
			}
			if at[some[i]], err = s.form.read(body); err != nil {
				return nil, errRefused
			}
		}
	}
	found := newSnapshot(headOf(m))
	for _, a := range addresses {
		if err := found.place(at[a]); err != nil {
			return nil, errRefused
		}
	}
	found.derive(nil)
	return found, nil
}

// place puts a part where it belongs.
func (s *Snapshot) place(p *part) error {
	kind, bucket, err := listOf(p.body)
	if err != nil {
		return err
	}
	if s.lists[kind] == nil {
		s.lists[kind] = &list{}
	}
	s.lists[kind][bucket] = p
	return nil
}

// partsAtHand are the parts in memory, by their addresses.
func (s *Source) partsAtHand() map[string]*part {
	s.mu.Lock()
	all := slices.Clone(s.cache)
	if s.sent != nil {
		all = append(all, s.sent)
	}
	s.mu.Unlock()
	out := map[string]*part{}
	for _, snapshot := range all {
		_, parts := snapshot.addresses()
		for _, p := range parts {
			out[p.address] = p
		}
	}
	return out
}
