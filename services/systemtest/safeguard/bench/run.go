package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	shared "github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// result of one run.
type result struct {
	engine, bare float64 // events a second
	batch        float64 // mean of the engine's
	recordBytes  int     // mean of the engine's
	counted      int64
	seconds      float64
}

// installation is a fleet with config running and the class in it.
func (s *bed) installation(ctx context.Context, name string, partitions int) (*fleet.Fleet, error) {
	dir := filepath.Join(s.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := fleet.Open(ctx, fleet.Config{
		Brokers: []string{s.kafka.Address()}, Redis: s.redis.Address(), Dir: dir, Partitions: partitions, Binaries: filepath.Join(s.dir, "bin"),
	})
	if err != nil {
		return nil, err
	}
	if _, err := f.Start(ctx, "config"); err != nil {
		return nil, errors.Join(err, f.Close(ctx))
	}
	if _, err := f.Configure(ctx, &configv1.Tenant{Name: "tenants/" + tenant}, class()); err != nil {
		return nil, errors.Join(err, f.Close(ctx))
	}
	return f, nil
}

// run measures the engine and then, on the same log, the bare loop.
func (s *bed) run(ctx context.Context, i int, o options) (r result, err error) {
	f, err := s.installation(ctx, fmt.Sprintf("run-%d", i), o.partitions)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	// The service appends the revision first; subscribers come after it.
	m, err := f.Start(ctx, "safeguard")
	if err != nil {
		return r, err
	}
	if err := m.Ready(ctx); err != nil {
		return r, err
	}
	fleet.Report("run %d: %d subscribers", i+1, o.subscribers)
	if err := activate(ctx, f, o.subscribers); err != nil {
		return r, err
	}
	if err := counted(ctx, m, float64(o.subscribers)); err != nil {
		return r, err
	}
	if err := m.Stop(ctx); err != nil {
		return r, err
	}
	fleet.Report("run %d: %d events", i+1, o.events)
	l := &load{spent: make([]int64, o.subscribers)}
	random := scatter(o.subscribers)
	if err := l.use(ctx, f, "u", o.events, random); err != nil {
		return r, err
	}
	if err := m.Restart(ctx); err != nil {
		return r, err
	}
	if err := r.measure(ctx, m, o); err != nil {
		return r, err
	}
	if err := counted(ctx, m, float64(o.events)); err != nil {
		return r, err
	}
	if err := l.check(ctx, f, m); err != nil {
		return r, err
	}
	if err := r.batches(ctx, m); err != nil {
		return r, err
	}
	if err := m.Stop(ctx); err != nil {
		return r, err
	}
	if r.recordBytes, err = shared.RecordBytes(ctx, s.redis, f, "safeguard"); err != nil {
		return r, err
	}
	if o.engineOnly {
		return r, nil
	}
	fleet.Report("run %d: engine %.0f/s; the bare loop now, batches of %.0f, records of %d bytes", i+1, r.engine, r.batch, r.recordBytes)
	if err := s.bare(ctx, f, &r, o); err != nil {
		return r, err
	}
	fleet.Report("run %d: engine %.0f/s, bare %.0f/s, ratio %.2f", i+1, r.engine, r.bare, r.engine/r.bare)
	return r, nil
}

// scatter draws subscribers as a hash does: the same for the same i.
func scatter(n int) func(int) int {
	return func(i int) int {
		x := uint64(i) * 0x9e3779b97f4a7c15
		x ^= x >> 29
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 32
		return int(x % uint64(n))
	}
}

const pollEvery = 50 * time.Millisecond

const eventsMetric = "tollgate_safeguard_events_total"

// counted waits until the member has applied n events since it started.
func counted(ctx context.Context, m *fleet.Member, n float64) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		v, err := shared.Metric(ctx, m, eventsMetric)
		if err != nil {
			return err
		}
		if v >= n {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.Ended():
			return errors.New("safeguard ended:\n" + m.Tail())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// measure takes the rate after the warm-up, until the length is over or the
// log at its end.
func (r *result) measure(ctx context.Context, m *fleet.Member, o options) error {
	if err := counted(ctx, m, 1); err != nil {
		return err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	began := time.Now()
	var from, to time.Time
	var first, last float64
	for to.Sub(from) < o.length || from.IsZero() {
		v, err := shared.Metric(ctx, m, eventsMetric)
		if err != nil {
			return err
		}
		now := time.Now()
		switch {
		case from.IsZero() && now.Sub(began) >= o.warmUp:
			from, first = now, v
		case v >= float64(o.events):
			if from.IsZero() {
				return fmt.Errorf("%d events were counted within the warm-up: give more with -events", o.events)
			}
			// The end came between two looks; the one before counts.
			return r.rate(first, last, from, to)
		}
		to, last = now, v
		<-tick.C
	}
	return r.rate(first, last, from, to)
}

func (r *result) rate(first, last float64, from, to time.Time) error {
	r.counted, r.seconds = int64(last-first), to.Sub(from).Seconds()
	if r.seconds < 5 {
		return fmt.Errorf("measured only %.1f s: give more with -events", r.seconds)
	}
	r.engine = (last - first) / r.seconds
	return nil
}

func (r *result) batches(ctx context.Context, m *fleet.Member) error {
	sum, err := shared.Metric(ctx, m, "tollgate_safeguard_batch_events_sum")
	if err != nil {
		return err
	}
	count, err := shared.Metric(ctx, m, "tollgate_safeguard_batch_events_count")
	if err != nil {
		return err
	}
	r.batch = sum / count
	return nil
}

// readWithin is how long a counter may take to be read as it is: what is counted is committed a little later.
const readWithin = 10 * time.Second

// check compares a sample of counters with what was put in.
func (l *load) check(ctx context.Context, f *fleet.Fleet, m *fleet.Member) error {
	conn, err := f.Dial(m.Address("grpc"))
	if err != nil {
		return err
	}
	inventory := optionsv1.NewOptionInventoryServiceClient(conn)
	until := time.Now().Add(readWithin)
	for i := 0; i < len(l.spent); {
		got, err := inventory.ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: "tenants/" + tenant + "/subscribers/" + msisdn(i)})
		if err != nil {
			return fmt.Errorf("read counter: %w", err)
		}
		spent := []int64{nanos(got.GetDataSafeguard().GetSpent()), nanos(got.GetOverspendSafeguard().GetSpent()), nanos(got.GetPaymentSafeguard().GetSpent())}
		switch want := l.spent[i]; {
		case spent[0] == want && spent[1] == want && spent[2] == want:
			i += max(1, len(l.spent)/1000)
		case time.Now().After(until):
			return fmt.Errorf("subscriber %d spent %d by the service and %d by the load: lost or doubled", i, spent, want)
		}
	}
	return nil
}

func nanos(m *money.Money) int64 { return m.GetUnits()*1e9 + int64(m.GetNanos()) }

// bare measures the bare loop on the log that the engine has worked.
func (s *bed) bare(ctx context.Context, f *fleet.Fleet, r *result, o options) (err error) {
	j := &shared.Bare{Fleet: f, Kafka: s.kafka, Redis: s.redis, Batch: int(r.batch), RecordBytes: r.recordBytes}
	r.bare, err = j.Measure(ctx, o.warmUp, o.length)
	return err
}

// cold measures a pass over subscribers of whom nothing is in memory beside another over the same.
func (s *bed) cold(ctx context.Context, o options) ([]figure.Figure, error) {
	f := figure.Figure{Name: "safeguard.cold_ratio", Unit: "ratio", Goal: 2, Better: "lower", On: s.on, Note: note}
	var ratios []float64
	for i := range o.runs {
		first, second, err := s.passes(ctx, i, o)
		if err != nil {
			return nil, err
		}
		ratios = append(ratios, first.Seconds()/second.Seconds())
		f.Runs = append(f.Runs, fmt.Sprintf("first pass %s, second %s over %d subscribers", first.Round(time.Millisecond), second.Round(time.Millisecond), o.cold))
		f.Events += int64(2 * o.cold)
	}
	f.Value = figure.Round(figure.Median(ratios))
	return []figure.Figure{f}, nil
}

// passes measures two passes over the same subscribers by a process that has
// none of them in memory.
func (s *bed) passes(ctx context.Context, i int, o options) (first, second time.Duration, err error) {
	f, err := s.installation(ctx, fmt.Sprintf("cold-%d", i), o.partitions)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, f.Close(context.WithoutCancel(ctx))) }()
	m, err := f.Start(ctx, "safeguard")
	if err != nil {
		return 0, 0, err
	}
	if err := m.Ready(ctx); err != nil {
		return 0, 0, err
	}
	fleet.Report("cold pass: %d subscribers", o.cold)
	if err := activate(ctx, f, o.cold); err != nil {
		return 0, 0, err
	}
	if err := counted(ctx, m, float64(o.cold)); err != nil {
		return 0, 0, err
	}
	if err := m.Stop(ctx); err != nil {
		return 0, 0, err
	}
	l := &load{spent: make([]int64, o.cold)}
	for _, pass := range []string{"first", "second"} {
		if err := l.use(ctx, f, pass, o.cold, shuffled(o.cold)); err != nil {
			return 0, 0, err
		}
	}
	if err := m.Restart(ctx); err != nil {
		return 0, 0, err
	}
	if err := counted(ctx, m, 1); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := counted(ctx, m, float64(o.cold)); err != nil {
		return 0, 0, err
	}
	between := time.Now()
	if err := counted(ctx, m, float64(2*o.cold)); err != nil {
		return 0, 0, err
	}
	first, second = between.Sub(began), time.Since(between)
	fleet.Report("cold pass: first %s, second %s", first, second)
	return first, second, l.check(ctx, f, m)
}
