// Package memstate is a state store in memory, for tests and models. A crash of the process loses it, which the engine
// survives by rebuilding.
package memstate

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tollgate/tollgate/pkg/state"
)

// Store keeps partitions in maps.
type Store struct {
	mu         sync.Mutex
	partitions map[state.Partition]*partition
}

type partition struct {
	watermark []byte
	values    map[string][]byte
}

// New returns an empty store.
func New() *Store { return &Store{partitions: make(map[state.Partition]*partition)} }

func (s *Store) at(p state.Partition) *partition {
	if s.partitions[p] == nil {
		s.partitions[p] = &partition{values: make(map[string][]byte)}
	}
	return s.partitions[p]
}

// Open implements state.Store.
func (s *Store) Open(_ context.Context, p state.Partition, address string) (state.Watermark, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.at(p)
	var w state.Watermark
	if at.watermark != nil {
		var err error
		if w, err = state.DecodeWatermark(at.watermark); err != nil {
			return w, err
		}
	}
	w.Before, w.Token, w.Address = w.Token, state.NewToken(), address
	at.watermark = w.Encode()
	return w, nil
}

// Load implements state.Store.
func (s *Store) Load(_ context.Context, p state.Partition, w state.Watermark, keys []string) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.at(p)
	if !bytes.Equal(at.watermark, w.Encode()) {
		return nil, state.ErrFenced
	}
	return at.read(keys), nil
}

// Peek implements state.Store.
func (s *Store) Peek(_ context.Context, p state.Partition, keys []string) (state.Watermark, [][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.at(p)
	if at.watermark == nil {
		return state.Watermark{}, make([][]byte, len(keys)), nil
	}
	w, err := state.DecodeWatermark(at.watermark)
	return w, at.read(keys), err
}

func (at *partition) read(keys []string) [][]byte {
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i] = at.values[k]
	}
	return values
}

// Commit implements state.Store.
func (s *Store) Commit(_ context.Context, p state.Partition, from, to state.Watermark, c state.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.at(p)
	if !bytes.Equal(at.watermark, from.Encode()) {
		return state.ErrFenced
	}
	at.watermark = to.Encode()
	for _, e := range c.Puts {
		at.values[e.Key] = bytes.Clone(e.Value)
	}
	for _, e := range c.Appends {
		at.values[e.Key] = append(at.values[e.Key][:len(at.values[e.Key]):len(at.values[e.Key])], e.Value...)
	}
	for _, k := range c.Deletes {
		delete(at.values, k)
	}
	return nil
}

// Scan implements state.Store, in the order of keys.
func (s *Store) Scan(_ context.Context, p state.Partition, prefix, cursor string, count int) (keys []string, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(s.at(p).values)) {
		if k <= cursor || !strings.HasPrefix(k, prefix) {
			continue
		}
		if len(keys) == count {
			return keys, keys[count-1], nil
		}
		keys = append(keys, k)
	}
	return keys, "", nil
}

// Walk implements state.Store.
func (s *Store) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) ([]string, string, error) {
	return s.Scan(ctx, p, prefix, cursor, count)
}

// Dump is a copy of everything, as a file on disk would be.
type Dump map[state.Partition]partition

// Dump copies the store.
func (s *Store) Dump() Dump {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := make(Dump)
	for p, at := range s.partitions {
		d[p] = partition{at.watermark, maps.Clone(at.values)}
	}
	return d
}

// Restore sets the store back to a dump; an empty one empties it.
func (s *Store) Restore(d Dump) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.partitions = make(map[state.Partition]*partition)
	for p, at := range d {
		s.partitions[p] = &partition{at.watermark, maps.Clone(at.values)}
	}
}
