package api

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Bounds of one dry run.
const (
	maxRecords = 10_000_000
	maxTime    = 60 * time.Second
	maxMemory  = 256 << 20 // bytes of states
)

// survey folds past events with a draft: whole partitions, some side by side, until one of the bounds.
type survey struct {
	trial    Trial
	logs     []Log
	records  records
	from, to time.Time
	zone     *time.Location
	bounds   bounds

	lead  time.Duration
	days  []time.Time // when they begin, the first at from, and the last one's end
	parts []*part

	started time.Time
	// Counted while it works: records read and to be read, and firings.
	read, planned, firings atomic.Int64
	ended                  atomic.Int32 // a triggerv1.DryRunRead_Bound

	mu  sync.Mutex
	sum *tally
}

type bounds struct {
	records, memory int64
	time            time.Duration
}

// part is a partition, and how far it was read.
type part struct {
	log    Log
	number int32
	// offsets at which the lead-in and each day begin, and the last one's end.
	begin int64
	days  []int64
	// next is the offset before which it was read; whole is whether to its end.
	next  int64
	whole bool
}

func (p *part) from() int64    { return p.days[0] }
func (p *part) until() int64   { return p.days[len(p.days)-1] }
func (p *part) records() int64 { return p.until() - p.from() }

// lookups is how many offsets are asked for at once.
const lookups = 8

// prepare finds the partitions, and where the days begin in them.
func (s *survey) prepare(ctx context.Context) error {
	if window, bounded := s.trial.Rule().Window(); !bounded || window > s.to.Sub(s.from)/10 {
		s.lead = s.to.Sub(s.from) / 10
	} else {
		s.lead = window
	}
	s.days = daysOf(s.from, s.to, s.zone)
	for _, l := range s.logs {
		if !l.concerned(s.trial.Rule().ConcernedTypes()) {
			continue
		}
		n, err := s.records.Partitions(ctx, l.Topic)
		if err != nil {
			return fmt.Errorf("find partitions: %w", err)
		}
		for p := range n {
			s.parts = append(s.parts, &part{log: l, number: int32(p), days: make([]int64, len(s.days))})
		}
	}
	starts := make([]int64, len(s.parts))
	for i, p := range s.parts {
		var err error
		if starts[i], _, err = s.records.Offsets(ctx, p.log.Topic, p.number); err != nil {
			return fmt.Errorf("find offsets: %w", err)
		}
	}
	asked, ctx := errgroup.WithContext(ctx)
	asked.SetLimit(lookups)
	for n, p := range s.parts {
		at := func(t time.Time, to *int64) {
			asked.Go(func() error {
				offset, err := s.records.OffsetAt(ctx, p.log.Topic, p.number, t)
				*to = max(offset, starts[n])
				return err
			})
		}
		at(s.from.Add(-s.lead), &p.begin)
		for i, day := range s.days {
			at(day, &p.days[i])
		}
	}
	if err := asked.Wait(); err != nil {
		return fmt.Errorf("find offsets: %w", err)
	}
	for _, p := range s.parts {
		p.next = p.begin
		for i := range p.days { // stamps may go back
			if i == 0 {
				p.days[0] = max(p.days[0], p.begin)
			} else {
				p.days[i] = max(p.days[i], p.days[i-1])
			}
		}
	}
	return nil
}

func (l *Log) concerned(types []event.Type) bool { return slices.ContainsFunc(types, l.Has) }

// daysOf are the beginnings of the days of a range, the first cut to its start, and its end.
func daysOf(from, to time.Time, zone *time.Location) []time.Time {
	days := []time.Time{from}
	y, m, d := from.In(zone).Date()
	for i := 1; ; i++ {
		next := time.Date(y, m, d+i, 0, 0, 0, 0, zone)
		if !next.Before(to) {
			return append(days, to)
		}
		days = append(days, next)
	}
}

// chosen are the partitions to read: as many as are within the bound of records, at least one.
func (s *survey) chosen() []*part {
	for i, p := range s.parts {
		n := s.planned.Load() + p.until() - p.begin
		if i > 0 && n > s.bounds.records {
			s.end(triggerv1.DryRunRead_BOUND_RECORDS)
			return s.parts[:i]
		}
		s.planned.Store(min(n, s.bounds.records))
	}
	return s.parts
}

func (s *survey) elapsed() time.Duration { return time.Since(s.started) }

// end notes the first bound that was met.
func (s *survey) end(by triggerv1.DryRunRead_Bound) { s.ended.CompareAndSwap(0, int32(by)) }

// run folds; the sum is what came of it.
func (s *survey) run(ctx context.Context) error {
	tick, err := tickValue()
	if err != nil {
		return err
	}
	s.sum = newTally(len(s.days) - 1)
	chosen := s.chosen()
	var next atomic.Int64
	work, ctx := errgroup.WithContext(ctx)
	side := min(runtime.GOMAXPROCS(0), len(chosen))
	for range side {
		work.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(chosen)); i = next.Add(1) - 1 {
				if s.elapsed() >= s.bounds.time {
					s.end(triggerv1.DryRunRead_BOUND_TIME)
					return nil
				}
				if err := s.fold(ctx, chosen[i], s.bounds.memory/int64(side), tick); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return work.Wait()
}

// fold works one partition, to its end or to a bound.
func (s *survey) fold(ctx context.Context, p *part, memory int64, tick []byte) error {
	if p.begin == p.until() {
		p.whole = true
		return nil
	}
	t := newTally(len(s.days) - 1)
	l := &pastLog{
		from: s.records, topic: p.log.Topic, partition: p.number, until: p.until(), end: s.to.Add(-time.Millisecond),
		concerns: s.concerns(), tick: tick, next: p.begin, resume: p.begin,
		read: func(n int, next int64) {
			p.next = next
			s.read.Add(int64(n))
		},
	}
	cut := false
	ahead := func(offset int64) bool {
		switch {
		case offset >= p.until():
		case s.read.Load() >= s.bounds.records:
			s.end(triggerv1.DryRunRead_BOUND_RECORDS)
			cut = true
		case s.elapsed() >= s.bounds.time:
			s.end(triggerv1.DryRunRead_BOUND_TIME)
			cut = true
		}
		return !cut
	}
	pending, err := s.trial.Fold(ctx, Past{
		Domain: p.log.Domain, Topic: p.log.Topic, Number: p.number, Log: l,
		Begin: replay.Begin{Offset: p.begin, Time: s.from.Add(-s.lead)}, Until: p.until() + 1, MaxBytes: memory, Ahead: ahead,
	}, t.samples.wants, func(m Mark) { s.count(t, &m) })
	switch {
	case errors.Is(err, replay.ErrMemory):
		s.end(triggerv1.DryRunRead_BOUND_MEMORY)
	case err != nil:
		return err
	case !cut:
		p.whole = true
		t.pending = pending
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.add(t)
	return nil
}

// concerns reports by the headers of a record whether the rule may read it.
func (s *survey) concerns() func(tenant, kind []byte) bool {
	types := map[string]bool{}
	for _, name := range s.trial.Rule().Concerns() {
		types[name] = true
	}
	tenant := s.trial.Rule().Tenant
	return func(of, kind []byte) bool { return string(of) == tenant && types[string(kind)] }
}

// count enters a mark into a tally; the lead-in only builds states.
func (s *survey) count(t *tally, m *Mark) {
	if m.Time.Before(s.from) || !m.Time.Before(s.to) {
		return
	}
	day := 0
	if m.Kind == Fired {
		s.firings.Add(1)
		day = s.dayOf(m.Time)
	}
	t.count(m, day)
}

func (s *survey) dayOf(at time.Time) int {
	low, high := 0, len(s.days)-1
	for high-low > 1 {
		if mid := (low + high) / 2; s.days[mid].After(at) {
			high = mid
		} else {
			low = mid
		}
	}
	return low
}
