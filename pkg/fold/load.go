package fold

import (
	"bytes"
	"context"

	"github.com/tollgate/tollgate/pkg/fold/internal/record"
	"github.com/tollgate/tollgate/pkg/fold/internal/view"
	"github.com/tollgate/tollgate/pkg/state"
)

// held is a subject's record for the time of a batch.
type held[B any] struct {
	key     string
	raw     []byte // as committed; nil where there is no record
	open    bool   // subject was made of it
	subject Subject[B]
}

// memory is what an owner's batches are worked in, one after the other.
type memory[B any] struct {
	by      map[string]*held[B]
	beside  map[string][]byte // id segments and side records, nil where there is none, by key
	slabs   [][]held[B]
	used    int
	scratch []byte
	timers  record.TimerNames
	names   map[string]string // of timers, those not listed
}

const slabSize = 128

func newMemory[B any](timers record.TimerNames) *memory[B] {
	return &memory[B]{by: make(map[string]*held[B]), beside: make(map[string][]byte), timers: timers, names: make(map[string]string)}
}

func (m *memory[B]) reset() {
	clear(m.by)
	clear(m.beside)
	m.used = 0
}

// hold makes room for a subject's record. What it was used for before is left until the subject is opened: parts of it
// are used again.
func (m *memory[B]) hold(key string) *held[B] {
	if m.used == len(m.slabs)*slabSize {
		m.slabs = append(m.slabs, make([]held[B], slabSize))
	}
	h := &m.slabs[m.used/slabSize][m.used%slabSize]
	m.used++
	h.key, h.raw, h.open = key, nil, false
	m.by[key] = h
	return h
}

// name of a timer as it is written, without a copy of its own for each record.
func (m *memory[B]) name(b []byte) string {
	if len(b) == 1 && b[0] >= record.ListedName {
		return record.ListedNames[b[0]-record.ListedName]
	}
	if s, ok := m.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(m.names) < 1000 {
		m.names[s] = s
	}
	return s
}

// record is what append writes, in as much memory as it takes.
func (m *memory[B]) record(h *record.Header, body B, encode func([]byte, B) []byte) []byte {
	m.scratch = encode(h.Append(m.scratch[:0]), body)
	return bytes.Clone(m.scratch)
}

// load reads what a batch needs: records, then what is beside them: side records, and such id segments as may
// be those of the events, and more.
func (o *Owner[B, C]) load(ctx context.Context, subjects []string, run []entry[B], more []string) error {
	m := o.memory
	m.reset()
	var missing []string
	hold := func(key string, cached view.Get) *held[B] {
		h, ok := m.by[key]
		if !ok {
			h = m.hold(key)
			m.scratch = append(append(m.scratch[:0], record.Prefix...), key...)
			if h.raw, ok = cached(m.scratch); !ok {
				missing = append(missing, record.Key(key))
			}
		}
		return h
	}
	o.newest(func(cached view.Get) {
		for _, s := range subjects {
			hold(s, cached)
		}
		for i := range run {
			if run[i].key != "" {
				run[i].held = hold(run[i].key, cached)
			}
			if of := run[i].rules; of != nil {
				of.held = of.held[:0]
				for _, name := range of.names {
					of.held = append(of.held, hold(name, cached))
				}
			}
		}
	})
	err := o.read(ctx, missing, func(key string, value []byte) { m.by[key[len(record.Prefix):]].raw = value })
	if err != nil {
		return err
	}
	want := more
	for _, h := range m.by {
		if record.Flagged(h.raw, record.SideFlag) {
			want = append(want, record.SideKey(h.key))
		}
	}
	for i := range run {
		en := &run[i]
		if of := en.rules; of != nil {
			for _, h := range of.held {
				if record.Flagged(h.raw, record.SegmentsFlag) {
					record.SegmentsHolding(h.raw, en.id, func(number uint64) { want = append(want, record.SegmentKey(h.key, number)) })
				}
			}
		}
		if en.held != nil && record.Flagged(en.held.raw, record.SegmentsFlag) {
			if en.allIDs {
				want, err = record.AppendBesideKeys(want, en.key, en.held.raw)
			} else {
				record.SegmentsHolding(en.held.raw, en.id, func(number uint64) { want = append(want, record.SegmentKey(en.key, number)) })
			}
			if err != nil {
				return err
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	missing = missing[:0]
	o.newest(func(cached view.Get) {
		for _, key := range want {
			if _, ok := m.beside[key]; ok {
				continue
			}
			m.scratch = append(m.scratch[:0], key...)
			v, ok := cached(m.scratch)
			if m.beside[key] = v; !ok {
				missing = append(missing, key)
			}
		}
	})
	return o.read(ctx, missing, func(key string, value []byte) { m.beside[key] = value })
}

// newest reads values as the batches so far leave them, where they are in memory.
func (o *Owner[B, C]) newest(read func(view.Get)) {
	o.view.Cached(func(cached view.Get) {
		if !o.ahead.Any() {
			read(cached)
			return
		}
		read(func(key []byte) ([]byte, bool) {
			if v, ok := o.ahead.Get(key); ok {
				return v, true
			}
			return cached(key)
		})
	})
}

// read loads values from the store into the cache, and hands them out. None of them is ahead of the store.
func (o *Owner[B, C]) read(ctx context.Context, keys []string, take func(key string, value []byte)) error {
	if len(keys) > 0 {
		if err := o.ahead.End(); err != nil { // which watermark stands there is not known meanwhile
			return err
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), state.MaxKeys-1)
		got, err := o.config.Store.Load(ctx, o.place.partition, o.ahead.Stored, keys[:n])
		if err != nil {
			return err
		}
		for i, v := range got {
			take(keys[i], v)
		}
		o.view.Remember(keys[:n], got)
		keys = keys[n:]
	}
	return nil
}

// open makes a working copy of a record, once a batch.
func (b *batch[B]) open(h *held[B]) (*Subject[B], error) {
	s := &h.subject
	if h.open {
		return s, nil
	}
	timers, segments := s.header.Timers[:0], s.header.IDs.Segments[:0]
	*s = Subject[B]{}
	s.Key, s.batch = h.key, b
	s.header.Applied, s.header.Timers, s.header.IDs.Segments = -1, timers, segments
	if h.raw != nil {
		body, err := s.header.Decode(h.raw, b.memory.name)
		if err != nil {
			return nil, err
		}
		if s.state.stored = true; !s.header.Gone {
			if s.Body, err = b.decode(body); err != nil {
				return nil, err
			}
			s.Exists, s.state.sideStored = true, s.header.Side
		}
		s.header.Gone = false
		if s.header.Epoch != b.from.Epoch {
			s.header.Applied = -1
		}
	}
	h.open = true
	return s, nil
}

// beside returns what was loaded under a key. What was not is noted, and nil: the batch is applied again once that is
// loaded.
func (b *batch[B]) beside(key string) []byte {
	v, ok := b.memory.beside[key]
	if !ok {
		b.lacks = append(b.lacks, key)
	}
	return v
}
