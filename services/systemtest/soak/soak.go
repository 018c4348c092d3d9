package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

// Soak is one run.
type Soak struct {
	Check *Check
	Plan  *Plan
	Kills *kills.Kills
	// Kill disturbs until stretch ends, and leaves everything running.
	Kill func(ctx, stretch context.Context) error
	// Beside are what goes on at the same time, until stretch ends.
	Beside []func(ctx, stretch context.Context) error
	// Disturb lets receivers misbehave, or answer as they should.
	Disturb func(bool) error
	// Mend makes due what waits, and lets all of it be sent.
	Mend func(context.Context) error
	// After measures what is left to measure once nothing is killed any more; nil for nothing.
	After func(ctx context.Context, length time.Duration) ([]figure.Figure, error)
	// String is what happened beside the kills, in words.
	fmt.Stringer
}

// between is how long it goes on between two quiet points.
const between = time.Minute

// Main runs the soak of a channel's service: FOR is how long it kills, SEED repeats the same choices. It ends the process: with
// 1 and without a figure where the run shows nothing, with 1 and its figures where anything was lost, doubled or out of order.
func Main(channel string, begin func(ctx context.Context, b *Bed, seed uint64) (*Soak, error)) {
	Run(func(ctx context.Context, b *Bed, length time.Duration, seed uint64) error {
		return whole(ctx, b, channel, length, seed, begin)
	}, channel)
}

// Run is the soak of services that has rounds of its own, with a bed that is open meanwhile. It ends the process like Main.
func Run(do func(ctx context.Context, b *Bed, length time.Duration, seed uint64) error, services ...string) {
	if err := run(daemon.UntilSignal(), do, services); err != nil {
		fmt.Fprintln(os.Stderr, "soak failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, do func(ctx context.Context, b *Bed, length time.Duration, seed uint64) error, services []string) error {
	length, seed, err := kills.Options()
	if err != nil {
		return err
	}
	fleet.Report("killing for %s, SEED=%d", length, seed)
	return fleet.InFolder("tollgate-soak-", func(dir string) (err error) {
		b, err := Open(ctx, dir, nil, services...)
		defer func() { fleet.End(ctx, &err, b.Close) }()
		if err != nil {
			return err
		}
		return do(ctx, b, length, seed)
	})
}

func whole(ctx context.Context, b *Bed, channel string, length time.Duration, seed uint64, begin func(ctx context.Context, b *Bed, seed uint64) (*Soak, error)) error {
	s, err := begin(ctx, b, seed)
	if err != nil {
		return err
	}
	if err := b.Ready(ctx); err != nil {
		return err
	}
	took, err := s.rounds(ctx, b, length)
	if err != nil {
		return err
	}
	var more []figure.Figure
	if s.After != nil && !s.Check.wrong() {
		if more, err = s.After(ctx, length); err != nil {
			return err
		}
	}
	return s.print(ctx, b, channel, took, seed, more)
}

// rounds kills for a time, with a quiet point each minute.
func (s *Soak) rounds(ctx context.Context, b *Bed, length time.Duration) (took time.Duration, err error) {
	// The first round kills nothing: what is repeated there has no excuse.
	if err := s.round(ctx, b, between/4, func(_, _ context.Context) error { return nil }); err != nil {
		return 0, err
	}
	if s.Check.Repeats > 0 {
		return 0, fmt.Errorf("%d requests without an attempt before anything was killed", s.Check.Repeats)
	}
	from := time.Now()
	for left := length; left > 0 && !s.Check.wrong(); left -= between {
		if err := s.round(ctx, b, min(left, between), s.Kill); err != nil {
			return 0, err
		}
	}
	return time.Since(from), nil
}

// round disturbs for a while, mends everything, waits until nothing waits, and compares.
func (s *Soak) round(ctx context.Context, b *Bed, length time.Duration, kill func(ctx, stretch context.Context) error) error {
	stretch, done := context.WithTimeout(ctx, length)
	defer done()
	if err := s.Disturb(true); err != nil {
		return err
	}
	work := []func() error{
		func() error { return s.Plan.Run(ctx, stretch) },
		func() error { return kill(ctx, stretch) },
	}
	for _, beside := range s.Beside {
		work = append(work, func() error { return beside(ctx, stretch) })
	}
	if err := kills.Together(work...); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := s.Disturb(false); err != nil {
		return err
	}
	fleet.Report("%d deliveries planned; %s; %s; quiet now", s.Check.Number(), s, s.Kills)
	if err := b.Ready(ctx); err != nil {
		return err
	}
	return s.Check.Rests(ctx, s.Mend)
}

func (s *Soak) print(ctx context.Context, b *Bed, channel string, took time.Duration, seed uint64, more []figure.Figure) error {
	for _, line := range s.Check.Examples {
		fleet.Report("%s", line)
	}
	total := s.Kills.Total()
	if total == 0 && !s.Check.wrong() {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, b.Kafka, b.Redis)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("killed with -9: %s; seed %d; two replicas; %s; settled: %s; %d requests repeated in their attempt, %d receipts without an attempt (in flight at a kill)",
		s.Kills, seed, s, s.Check.Settlements(), s.Check.Resent, s.Check.Repeats)
	figures := append(figure.Counted(figure.Figure{
		Name: "soak." + channel + ".", Note: note, Kills: &total, Events: int64(s.Check.Number()), Seconds: figure.Round(took.Seconds()),
	}, figure.Counts{Lost: s.Check.Lost, Doubled: s.Check.Doubled, OutOfOrder: s.Check.OutOfOrder}), more...)
	for i := range figures {
		figures[i].On = on
	}
	return figure.PrintUnbroken(figures...)
}
