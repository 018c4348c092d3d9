package provision

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

const (
	typeFailed = "hook.failed"
	// failedEvery is the least time between two of these events about one handler, of all replicas.
	failedEvery = time.Minute
	// reportEvery is how often failures are added up.
	reportEvery = time.Second
	// reportWithin bounds one look at all of them.
	reportWithin = 10 * time.Second
)

// failing counts what handlers fail on, and publishes that they do: once a minute for each, with the count of all replicas.
type failing struct {
	// add adds to a counter that all replicas share, and takes it all where nobody did so within every; else it returns 0 and when
	// somebody may.
	add     func(ctx context.Context, name string, n int64, every time.Duration) (taken int64, again time.Duration, err error)
	produce func(ctx context.Context, records ...stream.Record) error
	topic   string
	clock   func() time.Time
	log     *zap.Logger

	mu  sync.Mutex
	all map[string]*failures
}

// failures are those of one handler.
type failures struct {
	tenant, id string
	// count is of those that are not added up yet.
	count int64
	// after is when it is worth while to ask again.
	after time.Time
	// eventType and reason are of the last.
	eventType, reason string
}

// observe counts a question that a handler failed on. Where the time of a call ended, that was not its fault.
func (f *failing) observe(tenant, eventType string, r *chain.Result) {
	if !r.ByPolicy() || r.Outcome == chain.CutOff || r.Outcome == chain.NotAsked {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[string]*failures{}
	}
	of := f.all[r.Handler.Name]
	if of == nil {
		of = &failures{tenant: tenant, id: r.Handler.Name[strings.LastIndexByte(r.Handler.Name, '/')+1:]}
		f.all[r.Handler.Name] = of
	}
	of.count++
	of.eventType, of.reason = eventType, r.Outcome.String()+": "+display.Text(r.Text, maxForeign)
}

// Run publishes until ctx ends.
func (f *failing) Run(ctx context.Context) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.report(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// due takes the counts that are to be added up.
func (f *failing) due() map[string]failures {
	f.mu.Lock()
	defer f.mu.Unlock()
	due := map[string]failures{}
	now := f.clock()
	for name, of := range f.all {
		if !now.Before(of.after) {
			due[name] = *of
			of.count = 0
		}
	}
	return due
}

// report adds up what is due and publishes what nobody has published within the minute. What is taken and can't be published is
// added again.
func (f *failing) report(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, reportWithin)
	defer cancel()
	for name, of := range f.due() {
		taken, again, err := f.add(ctx, name, of.count, failedEvery)
		left := err == nil && again > 0
		if err == nil && taken > 0 {
			if err = f.publish(ctx, name, &of, taken); err != nil {
				of.count = taken
			}
		}
		if err != nil && ctx.Err() == nil {
			f.log.Warn("event about a hook not published, trying again", zap.String("hook", name), zap.Error(err))
		}
		f.settle(name, of.count, left, again, err)
	}
}

// settle notes what is left of a handler's failures.
func (f *failing) settle(name string, count int64, left bool, again time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.all[name]
	switch {
	case err != nil:
		of.count += count
	case left:
		of.after = f.clock().Add(again)
	case of.count == 0:
		delete(f.all, name)
	}
}

func (f *failing) publish(ctx context.Context, name string, of *failures, count int64) error {
	now := f.clock().UTC().Truncate(time.Millisecond)
	e := event.Event{
		ID: hashOf(typeFailed, name, strconv.FormatInt(now.UnixMilli(), 10)), Source: source, Type: typeFailed, Tenant: of.tenant, Subject: "hook/" + of.id,
		Time: now, ReceivedAt: now,
		Data: &eventv1.HookFailed{Hook: name, EventType: of.eventType, Reason: of.reason, Count: count},
	}
	r, err := e.Record(f.topic)
	if err != nil {
		return err
	}
	return f.produce(ctx, r)
}
