package scenario

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// topicLog is what was read so far of a topic, without control records.
type topicLog struct {
	testing.TB
	ctx   context.Context
	tails []*fleet.Tail
	all   []stream.Record
	// whole has the control records too.
	whole []stream.Record
}

func follow(t testing.TB, ctx context.Context, f *fleet.Fleet, topic string) *topicLog {
	l := &topicLog{TB: t, ctx: ctx}
	for p := range f.Partitions() {
		l.tails = append(l.tails, f.Follow(topic, int32(p)))
	}
	return l
}

// read reads on to the present end.
func (l *topicLog) read() {
	l.Helper()
	for _, tail := range l.tails {
		for {
			records, err := tail.Read(l.ctx)
			if err != nil {
				l.Fatal(err)
			}
			if len(records) == 0 {
				break
			}
			l.whole = append(l.whole, records...)
			for _, r := range records {
				if !strings.HasPrefix(header(r, event.HeaderType), "system.") {
					l.all = append(l.all, r)
				}
			}
		}
	}
}

// until reads on until a condition holds.
func (l *topicLog) until(what string, holds func() bool) {
	l.Helper()
	wait(l, l.ctx, what, func() bool { l.read(); return holds() })
}

// wait asks again and again: what is waited for happens in other processes.
func wait(t testing.TB, ctx context.Context, what string, holds func() bool) {
	t.Helper()
	if !comes(ctx, holds) {
		t.Fatalf("waited in vain until %s", what)
	}
}

// soon is wait for a minute, of which the end is no failure: who asked shows what is missing.
func soon(ctx context.Context, holds func() bool) bool {
	within, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return comes(within, holds)
}

// comes asks until it holds, or ctx ends.
func comes(ctx context.Context, holds func() bool) bool {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// different counts the values of a header, without records that are left out.
func (l *topicLog) different(name string, out map[string]bool) int {
	values := map[string]bool{}
	for _, r := range l.all {
		if !out[header(r, event.HeaderID)] {
			values[header(r, name)] = true
		}
	}
	return len(values)
}

func header(r stream.Record, name string) string {
	value, _ := r.Header(name)
	return string(value)
}
