package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// neighbour is how long the deliveries of the healthy endpoints took beside those that misbehave, and alone.
type neighbour struct {
	beside, alone time.Duration // the 99th of 100
	counts        [2]int
	length        time.Duration
}

// misbehaviours are the ways of the endpoints that are not healthy, each of a receiver of HTTP/2 and of one of HTTP/1.1.
var misbehaviours = [endpointCount / 2]string{
	silent, broken, throttled, away, closing, gone, dripping, endless, flapping, tenth, refused, late,
}

// neighbours lets all endpoints but the healthy ones misbehave at each request, each in one way, and kills nothing. Before and
// after that the healthy ones are alone.
func (s *run) neighbours(ctx context.Context, length time.Duration) ([]figure.Figure, error) {
	alone := max(length/10, 10*time.Second)
	fleet.Report("healthy endpoints alone for %s, beside others that misbehave for %s, alone again", alone, length)
	out := &neighbour{length: length}
	var ages [2][]time.Duration
	for _, misbehave := range []bool{false, true, false} {
		kind, takes := 0, alone
		if misbehave {
			kind, takes = 1, length
		}
		more, err := s.window(ctx, takes, misbehave)
		if err != nil {
			return nil, err
		}
		ages[kind] = append(ages[kind], more...)
	}
	for kind, all := range ages {
		if out.counts[kind] = len(all); len(all) < 100 {
			return nil, fmt.Errorf("%d deliveries of healthy endpoints are too few to compare", len(all))
		}
	}
	out.alone, out.beside = p99(ages[0]), p99(ages[1])
	fleet.Report("%s", out)
	return []figure.Figure{out.figure()}, nil
}

// window plans for a while, lets everything settle, and returns the ages of the deliveries to healthy endpoints at their first
// receipt.
func (s *run) window(ctx context.Context, length time.Duration, misbehave bool) ([]time.Duration, error) {
	first := endpointCount
	if misbehave {
		first = 0
	}
	from := s.receiver.number()
	s.receiver.misbehave(misbehave)
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	began := time.Now()
	if err := s.plan.window(ctx, stretch, first); err != nil {
		return nil, err
	}
	s.receiver.misbehave(false)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	fleet.Report("%d deliveries planned, %d receipts; quiet now", s.check.Number(), s.receiver.number())
	if err := s.check.Rests(ctx, s.endpoints.mend); err != nil {
		return nil, err
	}
	return s.ages(from, began), nil
}

// ages are those of the deliveries to healthy endpoints planned since a time, as they came first.
func (s *run) ages(from int, began time.Time) (all []time.Duration) {
	came := map[string]bool{}
	for _, r := range s.receiver.since(from) {
		one := s.check.Planned(r.ID)
		if one == nil || one.At.Before(began) || one.To < endpointID(endpointCount) || came[r.ID] {
			continue
		}
		came[r.ID] = true
		all = append(all, r.At.Sub(one.At))
	}
	return all
}

func p99(all []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(all))[len(all)*99/100]
}

func (n *neighbour) String() string {
	return fmt.Sprintf("from planning to receipt, the 99th of 100 of %d healthy endpoints: %s beside %d that misbehave (%d deliveries in %s), %s alone (%d)",
		healthyCount, n.beside.Round(100*time.Microsecond), endpointCount, n.counts[1], n.length, n.alone.Round(100*time.Microsecond), n.counts[0])
}

func (n *neighbour) figure() figure.Figure {
	return figure.Figure{
		Name: "soak.webhook.neighbour_ratio", Value: figure.Round(n.beside.Seconds() / n.alone.Seconds()), Unit: "ratio", Goal: 1.5, Better: "lower",
		Note: n.String(), Seconds: n.length.Seconds(),
	}
}

// misbehave lets each endpoint but the healthy ones answer in its way, or all of them answer.
func (r *receiver) misbehave(misbehave bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.ways)
	for i := range endpointCount {
		if misbehave {
			r.ways[endpointID(i)] = misbehaviours[i/2]
		}
	}
	r.disturbed.Store(misbehave)
	r.misbehaving.Store(misbehave)
}

// drip sends an error whose body does not end, fast or slowly.
func drip(w http.ResponseWriter, q *http.Request, fast bool) {
	size, every := 1, 200*time.Millisecond
	if fast {
		size, every = 16<<10, 5*time.Millisecond
	}
	w.WriteHeader(http.StatusInternalServerError)
	for {
		if _, err := w.Write(make([]byte, size)); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		if !pause.For(q.Context(), every) {
			return
		}
	}
}
