package api

import (
	"cmp"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// maxSubjects is how many are distinguished.
const maxSubjects = 1_000_000

// maxSamples are drawn.
const maxSamples = 3

// tally is what came of past events.
type tally struct {
	firings, deliveries, noBefore, pending int64
	days                                   []int64
	subjects                               map[uint64]struct{} // hashes
	more                                   bool                // there are more subjects
	held                                   map[triggerv1.Decision_Reason]*triggerv1.DryRunHeld
	samples                                samples
}

func newTally(days int) *tally {
	return &tally{days: make([]int64, days), subjects: map[uint64]struct{}{}, held: map[triggerv1.Decision_Reason]*triggerv1.DryRunHeld{}}
}

func (t *tally) count(m *Mark, day int) {
	switch m.Kind {
	case Fired:
		t.firings++
		t.days[day]++
		t.subject(xxhash.Sum64String(m.Subject))
		t.samples.take(sample{m.Number, m.Event, m.Firing, m.Time})
	case Planned:
		t.deliveries++
	case NoBefore:
		t.noBefore++
	case Held:
		t.hold(&triggerv1.DryRunHeld{Reason: m.Decision.GetReason(), Count: max(1, m.Decision.GetCount()), Detail: m.Decision.GetDetail()})
	}
}

func (t *tally) subject(hash uint64) {
	if len(t.subjects) >= maxSubjects {
		if _, known := t.subjects[hash]; !known {
			t.more = true
		}
		return
	}
	t.subjects[hash] = struct{}{}
}

func (t *tally) hold(h *triggerv1.DryRunHeld) {
	if known, ok := t.held[h.GetReason()]; ok {
		known.Count += h.GetCount()
		return
	}
	t.held[h.GetReason()] = h
}

// add takes what came of another partition.
func (t *tally) add(o *tally) {
	t.firings += o.firings
	t.deliveries += o.deliveries
	t.noBefore += o.noBefore
	t.pending += o.pending
	for i, n := range o.days {
		t.days[i] += n
	}
	t.more = t.more || o.more
	for hash := range o.subjects {
		t.subject(hash)
	}
	for _, h := range o.held {
		t.hold(h)
	}
	for _, one := range o.samples.drawn {
		t.samples.take(one)
	}
}

// sample is a firing to be rendered.
type sample struct {
	number uint64
	event  []byte
	firing string
	time   time.Time
}

// samples are those firings whose numbers are the lowest.
type samples struct{ drawn []sample }

// wants reports whether a firing of a number would be among them.
func (s *samples) wants(number uint64) bool {
	return len(s.drawn) < maxSamples || number < s.drawn[len(s.drawn)-1].number
}

func (s *samples) take(one sample) {
	if one.event == nil || !s.wants(one.number) {
		return
	}
	i, _ := slices.BinarySearchFunc(s.drawn, one.number, func(s sample, n uint64) int { return cmp.Compare(s.number, n) })
	if s.drawn = slices.Insert(s.drawn, i, one); len(s.drawn) > maxSamples {
		s.drawn = s.drawn[:maxSamples]
	}
}
