package account

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// live is a partition whose owner runs by the clock of a synctest bubble: what is appended wakes it, and at the log's end it
// waits as long as it asks for.
type live struct {
	*partition
	appended, revoked chan struct{}
	// rejected is when the rejection of a subject's event was published.
	rejected map[string]time.Time
}

// runs begins to work the partition, until the test revokes it.
func (p *partition) runs() (l *live, revoke func()) {
	l = &live{partition: p, appended: make(chan struct{}, 1), revoked: make(chan struct{}), rejected: map[string]time.Time{}}
	ended := make(chan error, 1)
	go func() { ended <- p.owner(l, l, time.Now).Run(p.t.Context()) }()
	return l, func() {
		close(l.revoked)
		if err := <-ended; err != nil {
			p.t.Errorf("work partition: %v", err)
		}
	}
}

// accepts lets change append to the log, now, while the owner waits.
func (l *live) accepts(change func(p *partition)) {
	synctest.Wait()
	l.now = time.Now()
	change(l.partition)
	l.wake()
}

func (l *live) wake() {
	select {
	case l.appended <- struct{}{}:
	default:
	}
}

func (l *live) Fetch(ctx context.Context, from int64, wait time.Duration, wake <-chan struct{}) (stream.Batch, error) {
	if from == int64(len(l.Records)) && wait > 0 {
		late := time.NewTimer(wait)
		defer late.Stop()
		select {
		case <-late.C:
		case <-wake:
		case <-l.appended:
		case <-l.revoked:
			return stream.Batch{}, stream.ErrRevoked
		}
	}
	return l.partition.Fetch(ctx, from, 0, wake)
}

func (l *live) Append(_ context.Context, e *event.Event) error {
	l.now = time.Now()
	l.append(e)
	l.wake()
	return nil
}

func (l *live) Produce(ctx context.Context, records ...stream.Record) error {
	for _, r := range records {
		if subject, _ := r.Header(event.HeaderSubject); r.Topic == "rejected" {
			l.rejected[string(subject)] = time.Now()
		}
	}
	return l.partition.Produce(ctx, records...)
}

// A grace of 2 s once took 6 to 40 s in a quiet partition.
func TestHeld_RejectedWithinASecondAfterItsGrace(t *testing.T) {
	const grace = 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		p := newPartition(t)
		p.tenant.UnknownGrace = durationpb.New(grace)
		p.now = time.Now()
		p.configures(full())
		l, revoke := p.runs()
		due := map[string]time.Time{}
		for i := range 40 {
			// Anywhere within a second and a minute, sometimes behind a quiet while.
			time.Sleep(time.Duration(i%7)*370*time.Millisecond + time.Duration(i%11/10)*90*time.Second)
			number := fmt.Sprintf("4477009%05d", i)
			l.accepts(func(p *partition) { p.uses("1", func(e *event.Event) { e.Subject = number }) })
			due[number] = time.Now().Add(grace)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for number, at := range due {
			got, rejected := l.rejected[number]
			if late := got.Sub(at); !rejected || late < 0 || late > time.Second {
				t.Errorf("the usage of %s, due at %s, is rejected at %s", number, at.Format("15:04:05.000"), got.Format("15:04:05.000"))
			}
		}
		revoke()
	})
}
