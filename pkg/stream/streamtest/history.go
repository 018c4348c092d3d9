package streamtest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/tollgate/tollgate/pkg/stream"
)

// history is which records were acknowledged and handled; it is checked at the end.
type history struct {
	s     *suite
	topic string

	mu         sync.Mutex
	acked      map[string]int           // key -> sequences below were acknowledged
	firsts     map[string]int           // key -> sequences below were handled, in order
	handled    map[int32]map[int64]bool // partition -> offsets handled
	committed  map[int32]int64          // highest offset a commit succeeded with
	violations []string
	grown      chan struct{} // replaced and closed at each change
}

func newHistory(s *suite, topic string) *history {
	return &history{
		s: s, topic: topic,
		acked: map[string]int{}, firsts: map[string]int{},
		handled: map[int32]map[int64]bool{}, committed: map[int32]int64{},
		grown: make(chan struct{}),
	}
}

func (h *history) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.grown)
	h.grown = make(chan struct{})
}

// until waits for a state of the history.
func (h *history) until(what string, ok func() bool) {
	h.s.Helper()
	for {
		h.mu.Lock()
		done, grown := ok(), h.grown
		h.mu.Unlock()
		if done {
			return
		}
		waitFor(h.s, what, grown)
	}
}

// produce appends sequences of one key in groups of a few, each group only after
// the last was acknowledged, until stop closes. Errors repeat the group: an error
// means unknown.
func (h *history) produce(ctx context.Context, p *stream.Producer, key string, stop <-chan struct{}) {
	for seq := 0; ; {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		n := 1 + seq%7
		recs := make([]stream.Record, n)
		for i := range recs {
			recs[i] = stream.Record{Topic: h.topic, Partition: stream.AnyPartition, Key: []byte(key),
				Value: []byte(strconv.Itoa(seq + i))}
		}
		if p.Produce(ctx, recs...) != nil {
			continue
		}
		seq += n
		h.change(func() { h.acked[key] = seq })
	}
}

// work handles a claim record by record and commits after each batch.
func (h *history) work(ctx context.Context, cl *stream.Claim) error {
	from := max(cl.Committed(), 0)
	for {
		b, err := cl.Fetch(ctx, from, stream.FetchOptions{MaxBytes: 64 << 10})
		if err != nil {
			return err
		}
		for i, r := range b.Records {
			if want := from + int64(i); r.Offset != want {
				h.violation("partition %d: fetched offset %d where %d follows", cl.Partition, r.Offset, want)
			}
			h.handle(r)
		}
		if b.Next > from {
			if err := cl.Commit(ctx, b.Next); err != nil {
				return err
			}
			h.change(func() { h.committed[cl.Partition] = max(h.committed[cl.Partition], b.Next) })
		}
		from = b.Next
	}
}

func (h *history) handle(r stream.Record) {
	seq, err := strconv.Atoi(string(r.Value))
	if err != nil {
		h.violation("partition %d offset %d: value %q", r.Partition, r.Offset, r.Value)
		return
	}
	h.change(func() {
		if h.handled[r.Partition] == nil {
			h.handled[r.Partition] = map[int64]bool{}
		}
		h.handled[r.Partition][r.Offset] = true
		key := string(r.Key)
		switch next := h.firsts[key]; {
		case seq == next:
			h.firsts[key] = next + 1
		case seq > next:
			h.violations = append(h.violations, fmt.Sprintf("key %s: %d first appeared before %d", key, seq, next))
		}
	})
}

func (h *history) violation(format string, args ...any) {
	h.change(func() { h.violations = append(h.violations, fmt.Sprintf(format, args...)) })
}

// caughtUp waits until everything acknowledged was handled.
func (h *history) caughtUp() {
	h.s.Helper()
	h.until("everything acknowledged to be handled", func() bool {
		for key, n := range h.acked {
			if h.firsts[key] < n {
				return false
			}
		}
		return true
	})
}

// verify checks the invariants: nothing acknowledged is lost, nothing below a
// committed position was skipped, first appearances are in order, in the log and
// at the consumers.
func (h *history) verify(partitions int) {
	h.s.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.violations) > 0 {
		h.s.Errorf("violations:\n%s", strings.Join(h.violations[:min(len(h.violations), 10)], "\n"))
	}
	total := 0
	inLog := map[string]int{}
	for p := range int32(partitions) {
		for _, r := range h.s.readAll(h.topic, p) {
			total++
			seq, _ := strconv.Atoi(string(r.Value))
			switch next := inLog[string(r.Key)]; {
			case seq == next:
				inLog[string(r.Key)] = next + 1
			case seq > next:
				h.s.Errorf("partition %d offset %d: key %s has %d before %d", p, r.Offset, r.Key, seq, next)
			}
		}
		for o := int64(0); o < h.committed[p]; o++ {
			if !h.handled[p][o] {
				h.s.Errorf("partition %d: offset %d lies below the committed %d and was not handled", p, o,
					h.committed[p])
				break
			}
		}
	}
	acked := 0
	for key, n := range h.acked {
		acked += n
		if inLog[key] < n {
			h.s.Errorf("key %s: %d records acknowledged, the log holds %d in order", key, n, inLog[key])
		}
	}
	if acked == 0 {
		h.s.Error("nothing was acknowledged: the test shows nothing")
	}
	h.s.Logf("%d records acknowledged, %d in the log", acked, total)
}
