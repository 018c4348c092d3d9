package configclient

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// storedFormat is that of what stands in the store. Each has spaces of its own, so binaries of two versions run beside each other;
// one that finds nothing in its own reads the revision from the configuration service.
const storedFormat = 3

// spaceOf is the space of a service in the store.
func spaceOf(service string) string { return service + "." + strconv.Itoa(storedFormat) }

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
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(&configv1.Snapshot{
		Revision: found.Revision, History: found.History, ApplyRevision: found.ApplyRevision, StandsIn: found.standsIn,
	})
	if err != nil {
		return fmt.Errorf("encode revision %d: %w", found.Revision, err)
	}
	addresses, parts := found.addresses()
	return s.place().put(ctx, state.Revision{History: found.History, Number: found.Revision}, content, addresses, func(i int) []byte { return parts[i].body })
}

func (s *Source) place() place { return place{s.store, s.space, s.encryption} }

// place is a space of the store; encryption is nil where what is there is not encrypted.
type place struct {
	store      KeyStore
	space      string
	encryption *encryption
}

// bound is what something encrypted belongs to.
func (p place) bound(addresses []string) []byte {
	return append([]byte{storedFormat}, p.space+"\x00"+strings.Join(addresses, "")...)
}

// address of a part.
func (p place) address(body []byte) string {
	if p.encryption != nil {
		return p.encryption.address(body)
	}
	return plainAddress(body)
}

// put stores a revision; body answers the parts that the store asks for, nil where the revision is not in memory any more.
func (p place) put(ctx context.Context, r state.Revision, content []byte, addresses []string, body func(int) []byte) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	head := append([]byte{storedFormat}, content...)
	if p.encryption != nil {
		head = p.encryption.encrypt([]byte{storedFormat}, content, p.bound(addresses))
	}
	// A sweep of another process may delete parts that no revision lists yet.
	for range 5 {
		missing, err := p.store.PutRevision(ctx, p.space, r, head, addresses)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return nil
		}
		for some := range slices.Chunk(missing, partsAtOnce) {
			names, bodies := make([]string, len(some)), make([][]byte, len(some))
			for i, n := range some {
				if n < 0 || n >= len(addresses) {
					return fmt.Errorf("keep revision %s: the store asks for part %d of %d", r, n, len(addresses))
				}
				names[i], bodies[i] = addresses[n], body(n)
				if bodies[i] == nil {
					return fmt.Errorf("keep revision %s: it was replaced", r)
				}
				if p.encryption != nil {
					bodies[i] = p.encryption.encrypt(nil, bodies[i], p.bound(names[i:i+1]))
				}
			}
			if err := p.store.PutParts(ctx, p.space, names, bodies); err != nil {
				return err
			}
		}
	}
	return fmt.Errorf("keep revision %s: parts of it are deleted as often as they are written", r)
}

// get reads the head of a revision; content is nil where there is none that this binary can read.
func (p place) get(ctx context.Context, r state.Revision) (content []byte, addresses []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	head, addresses, err := p.store.GetRevision(ctx, p.space, r)
	if err != nil || len(head) == 0 || head[0] != storedFormat {
		return nil, nil, err
	}
	content = head[1:]
	if p.encryption != nil {
		if content, err = p.encryption.decrypt(content, p.bound(addresses)); err != nil {
			return nil, nil, errRefused
		}
	}
	if content == nil {
		content = []byte{} // it is there, and has no field that is set
	}
	return content, addresses, nil
}

// parts gives each part of some addresses to take; whole is false where one is not there: its revision goes at this moment.
func (p place) parts(ctx context.Context, addresses []string, take func(address string, body []byte) error) (whole bool, err error) {
	for some := range slices.Chunk(addresses, partsAtOnce) {
		bodies, err := p.store.GetParts(ctx, p.space, some)
		if err != nil {
			return false, err
		}
		for i, body := range bodies {
			if body == nil {
				return false, nil
			}
			if p.encryption != nil {
				if body, err = p.encryption.decrypt(body, p.bound(some[i:i+1])); err != nil {
					return false, errRefused
				}
			}
			if p.address(body) != some[i] || take(some[i], body) != nil {
				return false, errRefused
			}
		}
	}
	return true, nil
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
	content, addresses, err := s.place().get(ctx, r)
	if err != nil || content == nil {
		return nil, err
	}
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(content, m); err != nil || m.GetRevision() != r.Number || m.GetHistory() != r.History {
		return nil, errRefused
	}
	at := s.partsAtHand()
	unknown := slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return at[a] != nil })
	whole, err := s.place().parts(ctx, unknown, func(address string, body []byte) (err error) {
		at[address], err = s.form.read(body)
		return err
	})
	if err != nil || !whole {
		return nil, err
	}
	found := newSnapshot(headOf(m))
	for _, a := range addresses {
		if err := found.insert(at[a]); err != nil {
			return nil, errRefused
		}
	}
	found.derive(nil)
	return found, nil
}

// insert puts a part where it belongs.
func (s *Snapshot) insert(p *part) error {
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
