// Command hostile sends the whole product what a careless producer, a tenant or a stranger without a key may send it:
// batches that unpack to gigabytes or can't be read, expressions that cost minutes, names and lists without an end,
// messages of millions of tiny fields, and events that lead to thousands of others. Each service is a process of its own
// that may have 1 GiB of memory. A neighbour tenant's events go through every partition meanwhile; how long the slowest
// took from its acceptance to its receiver is the figure.
//
// ONLY=text tries those whose name contains it. Standard output has the figures, standard error the progress. A
// figure that misses its goal is shown and exits 0. It exits 1 without a figure where a process ended, an input was not answered as it must be, or an
// event of the neighbour did not arrive.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

func main() {
	if err := fleet.InFolder("tollgate-soak-", func(dir string) error { return hostile(daemon.UntilSignal(), dir) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

const (
	// memory is what each service may have.
	memory = 1 << 30
	// goal is how long an event of the neighbour may take.
	goal = 2 * time.Second
	// patience bounds one input with all that follows from it.
	patience = 90 * time.Second
)

// attempt is one input and its result.
type attempt struct {
	name string
	// try sends it and returns how it was answered; the error is what is wrong with that answer.
	try func(ctx context.Context, b *bed) (answer string, err error)
}

func hostile(ctx context.Context, dir string) (err error) {
	began := time.Now()
	b, err := start(ctx, dir)
	defer func() { fleet.End(ctx, &err, b.stop) }()
	if err != nil {
		return err
	}
	fleet.Report("every service runs, with %d MiB at most", memory>>20)

	n := newNeighbour(b)
	if err := n.begin(ctx); err != nil {
		return err
	}
	all := slices.Concat(batches(), expressions(), sizes(), strangers(), crowds(), forgeries())
	only, tried, wrong := os.Getenv("ONLY"), 0, 0
	worst, slowest := time.Duration(0), ""
	for _, a := range all {
		if !strings.Contains(a.name, only) {
			continue
		}
		tried++
		answer, waited, err := one(ctx, b, n, a)
		if err != nil {
			wrong++
			fleet.Report("WRONG  %s: %v", a.name, err)
			if b.dead() != nil {
				return b.dead()
			}
			continue
		}
		if waited > worst {
			worst, slowest = waited, a.name
		}
		fleet.Report("%-62s neighbour %4d ms  %s", a.name, waited.Milliseconds(), answer)
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %d inputs were not answered as they must be", wrong, tried)
	}
	peaks, highest, err := b.peaks()
	if err != nil {
		return err
	}
	on, err := b.on(ctx)
	if err != nil {
		return err
	}
	return figure.Print(os.Stdout,
		figure.Figure{
			Name: "soak.hostile.inputs", Value: float64(tried), Unit: "inputs", Goal: 40, Better: "higher", On: on, Events: n.received(),
			Seconds: time.Since(began).Seconds(), Note: "hostile inputs that were answered as they must be",
		},
		figure.Figure{
			Name: "soak.hostile.neighbour_wait_ms", Value: float64(worst.Milliseconds()), Unit: "ms", Goal: float64(goal.Milliseconds()), Better: "lower", On: on,
			Note: "the slowest event of a neighbour, from its acceptance to its receiver, beside: " + slowest,
		},
		figure.Figure{
			Name: "soak.hostile.peak_mib", Value: float64(highest >> 20), Unit: "MiB", Goal: float64(memory >> 20), Better: "lower", On: on, Note: peaks,
		},
	)
}

// one tries an input, and waits until the neighbour's events of that time have arrived.
func one(ctx context.Context, b *bed, n *neighbour, a attempt) (answer string, waited time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n.rest()
	answer, err = a.try(ctx, b)
	if dead := b.dead(); dead != nil {
		return answer, 0, errors.Join(err, dead)
	}
	waited, late := n.settle(ctx)
	return answer, waited, errors.Join(err, late, b.ready(ctx))
}
