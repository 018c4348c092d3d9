package window

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/simulation"
)

// model is the same, computed anew from everything that ever happened.
type model struct {
	ordered bool
	start   []Start
	next    []int64
	events  []*modelled
	seq     uint64
}

type modelled struct {
	Event
	partition int
	sendings  []uint64
	due       time.Time
	acked     bool
}

func (m *model) unacked() (n int) {
	for _, e := range m.events {
		if len(e.sendings) > 0 && !e.acked {
			n++
		}
	}
	return n
}

// mayBeSent are those never sent, of which, with order, no earlier one of their key is unacknowledged.
func (m *model) mayBeSent() map[*modelled]bool {
	may, blocked := map[*modelled]bool{}, map[uint64]bool{}
	for _, e := range m.events {
		if len(e.sendings) == 0 && !blocked[e.Key] {
			may[e] = true
		}
		if m.ordered && e.Key != 0 && !e.acked {
			blocked[e.Key] = true
		}
	}
	return may
}

func (m *model) position(p int, done func(*modelled) bool) int64 {
	first := m.next[p]
	for _, e := range m.events {
		if e.partition == p && !done(e) {
			first = min(first, e.Offset)
		}
	}
	return first
}

func (m *model) reach(p int) int64 {
	reach := max(m.start[p].Next, m.start[p].SeenBelow)
	for _, e := range m.events {
		if e.partition == p && len(e.sendings) > 0 {
			reach = max(reach, e.Offset+1)
		}
	}
	return reach
}

// taken checks what was taken, and notes it.
func (m *model) taken(now time.Time, most int, got []Sending) error {
	var due []*modelled
	may := m.mayBeSent()
	find := map[Ref]*modelled{}
	for _, e := range m.events {
		if len(e.sendings) > 0 && !e.acked && !e.due.After(now) {
			due = append(due, e)
		}
		find[Ref{e.partition, e.Offset}] = e
	}
	slices.SortStableFunc(due, func(a, b *modelled) int {
		if c := a.due.Compare(b.due); c != 0 {
			return c
		}
		return int(a.sendings[len(a.sendings)-1]) - int(b.sendings[len(b.sendings)-1])
	})
	again := min(len(due), most)
	if want := again + max(0, min(len(may), most-again, MaxUnacked-m.unacked())); len(got) != want {
		return fmt.Errorf("%d are sent, want %d: %d due, %d may be sent, %d unacknowledged", len(got), want, len(due), len(may), m.unacked())
	}
	for i, s := range got {
		e := find[Ref{s.Partition, s.Offset}]
		if e == nil {
			return fmt.Errorf("%d/%d is sent and was never read", s.Partition, s.Offset)
		}
		if i < again && e != due[i] || i >= again && !may[e] || e.acked {
			return fmt.Errorf("%d/%d is sent out of turn as %d of %d", s.Partition, s.Offset, i, len(got))
		}
		m.seq++
		seen := len(e.sendings) > 0 || e.Offset < m.start[e.partition].SeenBelow
		e.sendings, e.due = append(e.sendings, m.seq), now.Add(SendAgain)
		if s.Seq != m.seq || s.Number != len(e.sendings) || s.MaybeSeen != seen || string(s.Value) != string(e.Value) {
			return fmt.Errorf("%d/%d is sent as %+v, want number %d of it, %d of all", s.Partition, s.Offset, s, len(e.sendings), m.seq)
		}
	}
	return nil
}

func (m *model) ack(which func(*modelled) bool) (n int) {
	for _, e := range m.events {
		if len(e.sendings) > 0 && !e.acked && which(e) {
			e.acked = true
			n++
		}
	}
	return n
}

// forget keeps the model small: what is acknowledged and below every position has no effect any more.
func (m *model) forget() {
	below := make([]int64, len(m.next))
	for p := range below {
		below[p] = min(m.position(p, func(e *modelled) bool { return e.acked }), m.reach(p)-1)
	}
	m.events = slices.DeleteFunc(m.events, func(e *modelled) bool { return e.acked && e.Offset < below[e.partition] })
}

func TestSimulation_WindowIsItsModel(t *testing.T) {
	simulation.Run(t, simulation.Histories{Short: 12, Test: 60, Long: 10_000}, func(t *testing.T, seed uint64) {
		h := newHistory(seed)
		for step := range 300 {
			if what, err := h.step(); err != nil {
				t.Fatalf("step %d, %s: %v", step, what, err)
			}
		}
	})
}

type history struct {
	r    *rand.Rand
	now  time.Time
	w    *Window
	m    *model
	keys int
	many bool
}

func newHistory(seed uint64) *history {
	h := &history{r: rand.New(rand.NewPCG(seed, 76)), now: at(0)}
	h.keys, h.many = 1+h.r.IntN(12), h.r.IntN(4) == 0
	starts := make([]Start, 1+h.r.IntN(3))
	h.m = &model{ordered: h.r.IntN(3) > 0, start: starts, next: make([]int64, len(starts))}
	for i := range starts {
		starts[i].Next = int64(h.r.IntN(20))
		starts[i].SeenBelow = starts[i].Next + int64(h.r.IntN(30))
		h.m.next[i] = starts[i].Next
	}
	h.w = New(starts, h.m.ordered)
	return h
}

func (h *history) step() (what string, err error) {
	switch n := h.r.IntN(10); {
	case n < 4:
		what = "read"
		err = h.read()
	case n < 7:
		what = "send"
		h.now = h.now.Add(time.Duration(h.r.IntN(12)) * time.Second)
		most := 1 + h.r.IntN(40)
		if h.many {
			most = 1 + h.r.IntN(1500)
		}
		seq := h.w.Seq()
		got := h.w.Take(h.now, most, nil)
		if err = h.m.taken(h.now, most, got); err == nil && h.r.IntN(3) == 0 {
			h.now = h.now.Add(time.Duration(h.r.IntN(5)) * time.Second)
			h.w.Written(seq+1, h.now)
			for _, e := range h.m.events {
				if n := len(e.sendings); n > 0 && e.sendings[n-1] > seq {
					e.due = h.now.Add(SendAgain)
				}
			}
		}
	default:
		what = "ack"
		err = h.ack()
	}
	if err == nil {
		err = h.compare()
	}
	h.m.forget()
	return what, err
}

func (h *history) read() error {
	p := h.r.IntN(len(h.m.next))
	count := h.r.IntN(20)
	if h.many {
		count *= 30
	}
	for range min(count, h.w.Room()) {
		if h.r.IntN(3) == 0 { // of another tenant
			h.m.next[p] += int64(h.r.IntN(4))
			h.w.Pass(p, h.m.next[p])
			continue
		}
		e := Event{Offset: h.m.next[p], Key: uint64(h.r.IntN(h.keys + 1)), Name: uint64(h.r.IntN(500)), Value: make([]byte, h.r.IntN(9))}
		h.m.next[p]++
		h.m.events = append(h.m.events, &modelled{Event: e, partition: p})
		if err := h.w.Add(p, e); err != nil {
			return err
		}
	}
	return nil
}

func (h *history) ack() error {
	var acked, want int
	switch h.r.IntN(4) {
	case 0:
		seq := uint64(h.r.Int64N(int64(h.m.seq) + 2))
		acked = h.w.AckTo(seq)
		want = h.m.ack(func(e *modelled) bool { return e.sendings[0] <= seq })
	case 1:
		name := uint64(h.r.IntN(500))
		for _, at := range h.w.Named(name) {
			if h.w.Ack(at) {
				acked++
			}
		}
		want = h.m.ack(func(e *modelled) bool { return e.Name == name })
	default:
		for range h.r.IntN(30) {
			if len(h.m.events) == 0 {
				break
			}
			e := h.m.events[h.r.IntN(len(h.m.events))]
			ref := Ref{e.partition, e.Offset + int64(h.r.IntN(8)/7)} // now and then one that is not there
			if _, waits := h.w.Waits(ref); waits != h.w.Ack(ref) {
				return fmt.Errorf("%v waits: %t", ref, waits)
			} else if waits {
				acked++
			}
			want += h.m.ack(func(e *modelled) bool { return e.partition == ref.Partition && e.Offset == ref.Offset })
		}
	}
	if acked != want {
		return fmt.Errorf("%d were acknowledged, want %d", acked, want)
	}
	return nil
}

func (h *history) compare() error {
	held, bytes := 0, 0
	var due time.Time
	for _, e := range h.m.events {
		if e.acked {
			continue
		}
		bytes += len(e.Value)
		switch {
		case len(e.sendings) == 0:
			held++
		case due.IsZero() || e.due.Before(due):
			due = e.due
		}
	}
	if h.w.Unacked() != h.m.unacked() || h.w.Held() != held || h.w.Bytes() != bytes {
		return fmt.Errorf("%d unacknowledged, %d held, %d bytes; want %d, %d, %d", h.w.Unacked(), h.w.Held(), h.w.Bytes(), h.m.unacked(), held, bytes)
	}
	if got, ok := h.w.Due(); ok == due.IsZero() || !got.Equal(due) {
		return fmt.Errorf("due at %s, %t, want %s", got, ok, due)
	}
	for p, next := range h.m.next {
		position := h.m.position(p, func(e *modelled) bool { return e.acked })
		fresh := h.m.position(p, func(e *modelled) bool { return e.acked || len(e.sendings) > 0 })
		if h.w.Position(p) != position || h.w.Unsent(p) != fresh || h.w.Next(p) != next || h.w.Reach(p) != h.m.reach(p) {
			return fmt.Errorf("partition %d: position %d, unsent %d, next %d, reach %d; want %d, %d, %d, %d", p,
				h.w.Position(p), h.w.Unsent(p), h.w.Next(p), h.w.Reach(p), position, fresh, next, h.m.reach(p))
		}
	}
	return nil
}
