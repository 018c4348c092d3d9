package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// process is one of those that take part.
type process interface {
	Processor() (time.Duration, error)
	Switches() (int64, error)
}

// itself is the producer and receiver.
type itself struct{}

func (itself) Processor() (time.Duration, error) { return fleet.Processor(os.Getpid()) }
func (itself) Switches() (int64, error)          { return fleet.Switches(os.Getpid()) }

// measured is a process with its name.
type measured struct {
	name string
	process
}

// used is what each process has taken so far, in the order of journey.measured, and what the services count together.
type used struct {
	processor             []time.Duration
	switches              int64
	requests, allocations float64
}

// used looks at all of them.
func (j *journey) used(ctx context.Context) (u used, err error) {
	for _, of := range j.measured {
		took, fault := of.Processor()
		n, fault2 := of.Switches()
		u.processor, u.switches = append(u.processor, took), u.switches+n
		err = errors.Join(err, fault, fault2)
	}
	for _, m := range j.services {
		if m.Name == "config" {
			continue // it has no part in an event
		}
		requests, fault := bench.Metric(ctx, m, "tollgate_stream_broker_requests_total")
		objects, fault2 := bench.Metric(ctx, m, "go_memstats_mallocs_total")
		u.requests, u.allocations = u.requests+requests, u.allocations+objects
		err = errors.Join(err, fault, fault2)
	}
	return u, err
}

// since is what was taken since an earlier look.
func (u used) since(before used) used {
	for i := range u.processor {
		u.processor[i] -= before.processor[i]
	}
	u.switches -= before.switches
	u.requests -= before.requests
	u.allocations -= before.allocations
	return u
}

func (u used) all() (sum time.Duration) {
	for _, d := range u.processor {
		sum += d
	}
	return sum
}

// perEvent describes what one event took.
func (u used) perEvent(of []measured, events int) string {
	var parts []string
	for i, d := range u.processor {
		parts = append(parts, fmt.Sprintf("%s %.0f", of[i].name, float64(d.Microseconds())/float64(events)))
	}
	n := float64(events)
	return fmt.Sprintf("%.0f us of processors an event (%s), %.1f switches, %.2f requests to Kafka, %.0f allocations",
		float64(u.all().Microseconds())/n, strings.Join(parts, ", "), float64(u.switches)/n, u.requests/n, u.allocations/n)
}
