package trigger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

const (
	typeFailing = "notification.failing"
	// failsAfter is how often a notification fails within an hour of the clock before its owner hears of it, once in that hour.
	failsAfter = 10
	// mostFailing is how many notifications are counted, and how many events may wait for Kafka.
	mostFailing = 10_000
	// publishAgain is between two tries to publish such an event.
	publishAgain = 5 * time.Second
)

// failing counts the events on which notifications fail, in their filters or their texts, and publishes that one goes on
// failing. It watches what was decided and decides nothing: after a restart it counts anew.
type failing struct {
	// decisions and events are the full names of topics.
	decisions, events string
	publish           func(ctx context.Context, records ...stream.Record) error
	clock             func() time.Time
	log               *zap.Logger
	waiting           chan stream.Record

	mu    sync.Mutex
	hour  time.Time
	count map[failingNotification]int64
}

type failingNotification struct {
	tenant, code string
	version      int64
}

func newFailing(topic func(string) string, publish func(ctx context.Context, records ...stream.Record) error, clock func() time.Time, log *zap.Logger) *failing {
	return &failing{
		decisions: topic(stream.TriggersDecisions), events: topic(stream.EventsUnordered), publish: publish, clock: clock, log: log,
		waiting: make(chan stream.Record, mostFailing),
	}
}

// observe takes what partitions have published, side by side.
func (f *failing) observe(outcomes []stream.Record) {
	for i := range outcomes {
		if outcomes[i].Topic != f.decisions || !failure(outcomes[i].Value) {
			continue
		}
		var d triggerv1.Decision
		if err := proto.Unmarshal(outcomes[i].Value, &d); err != nil {
			f.log.Error("decision not read", zap.Error(err)) // we have written it
			continue
		}
		if d.GetEvent().GetType() != typeFailing { // it would go on by itself
			f.failed(&d)
		}
	}
}

// failure reports by its reason alone whether a decision is about a failure: most are not, and need not be decoded.
func failure(decision []byte) bool {
	for len(decision) > 0 {
		number, kind, n := protowire.ConsumeTag(decision)
		if n < 0 {
			return false
		}
		decision = decision[n:]
		if number == reasonField {
			reason, _ := protowire.ConsumeVarint(decision)
			return reason == uint64(triggerv1.Decision_REASON_FILTER_ERROR) || reason == uint64(triggerv1.Decision_REASON_RENDER_ERROR)
		}
		if n = protowire.ConsumeFieldValue(number, kind, decision); n < 0 {
			return false
		}
		decision = decision[n:]
	}
	return false
}

// reasonField is the number of a decision's reason.
var reasonField = (*triggerv1.Decision)(nil).ProtoReflect().Descriptor().Fields().ByName("reason").Number()

// failed counts a failure, and hands on that it is one of many.
func (f *failing) failed(d *triggerv1.Decision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if hour := f.clock().UTC().Truncate(time.Hour); !hour.Equal(f.hour) {
		f.hour, f.count = hour, map[failingNotification]int64{}
	}
	n := failingNotification{d.GetTenant(), d.GetNotification(), d.GetNotificationVersion()}
	if _, known := f.count[n]; !known && len(f.count) >= mostFailing {
		return
	}
	if f.count[n]++; f.count[n] != failsAfter {
		return
	}
	r, err := f.record(n, d)
	if err != nil {
		f.log.Error("event about a notification not made", zap.String("notification", n.code), zap.Error(err))
		return
	}
	select {
	case f.waiting <- r:
	default: // Kafka is away for more than an hour
		f.log.Warn("event about a notification dropped, too many wait", zap.String("notification", n.code))
	}
}

// record is the event of an hour: replicas that count the same notification publish it under one id.
func (f *failing) record(n failingNotification, d *triggerv1.Decision) (stream.Record, error) {
	h := sha256.New()
	for _, part := range []string{typeFailing, n.tenant, n.code, strconv.FormatInt(n.version, 10), f.hour.Format(time.RFC3339)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	e := event.Event{
		ID: hex.EncodeToString(h.Sum(nil)[:16]), Source: sourceTrigger, Type: typeFailing, Tenant: n.tenant, Subject: "notification/" + n.code,
		Time: f.hour, ReceivedAt: f.clock().UTC().Truncate(time.Millisecond),
		Data: &eventv1.NotificationFailing{
			Notification: "tenants/" + n.tenant + "/notifications/" + n.code, Version: n.version,
			Reason: reasonLabel(d.GetReason()) + ": " + d.GetDetail(), Count: failsAfter,
		},
	}
	return e.Record(f.events) //nolint:wrapcheck // the caller logs it
}

// Run publishes until ctx ends. What can't be published now is tried again: meanwhile others wait.
func (f *failing) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-f.waiting:
			for again := true; again; {
				err := f.publish(ctx, r)
				if err == nil || ctx.Err() != nil {
					break
				}
				again = !errors.Is(err, stream.ErrTooLarge) && !errors.Is(err, stream.ErrInvalidRecord)
				f.log.Error("event about a notification not published", zap.Bool("again", again), zap.Error(err))
				again = again && pause.For(ctx, publishAgain)
			}
		}
	}
}
