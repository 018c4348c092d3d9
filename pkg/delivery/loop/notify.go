package loop

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Types of the events about endpoints.
const (
	eventFailing     = "endpoint.failing"
	eventSuspended   = "endpoint.suspended"
	eventReactivated = "endpoint.reactivated"
	eventExhausted   = "delivery.exhausted"
)

// exhaustedEvery is the least time between two events about the dead deliveries of an endpoint.
const exhaustedEvery = time.Minute

// isSystem reports an event about Tollgate's own work. Failures of its deliveries cause no event: they could go on for ever.
func isSystem(eventType string) bool {
	return slices.Contains([]string{eventFailing, eventSuspended, eventReactivated, eventExhausted, "hook.failed", "notification.failing"}, eventType)
}

// publishEvent publishes an event about an endpoint with the next commit, before the attempts: an attempt in the log has its
// events there. The parts make its id, so that what is decided again has the same.
func (o *owner) publishEvent(e *queue.Endpoint, kind string, data proto.Message, parts ...string) {
	if o.Events == "" {
		return
	}
	h := sha256.New()
	for _, part := range append([]string{kind, e.Name}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	now := o.Clock().UTC().Truncate(time.Millisecond)
	_, id, _ := cutLast(e.Name)
	ev := event.Event{
		ID: hex.EncodeToString(h.Sum(nil)[:16]), Source: "tollgate/" + o.Name, Type: kind, Tenant: e.Share.Tenant, Subject: "endpoint/" + id,
		Time: now, ReceivedAt: now, Data: data,
	}
	rec, err := ev.Record(o.Events)
	if err != nil {
		o.log.Error("event about an endpoint not made", zap.String("endpoint", e.Name), zap.String("type", kind), zap.Error(err))
		return
	}
	o.publishLater(rec)
}

// cutLast cuts around the last slash.
func cutLast(name string) (before, after string, found bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name, false
	}
	return name[:i], name[i+1:], true
}

// State is the data of an event about an endpoint; d is the delivery that failed last, nil where nobody knows.
func (o *owner) state(e *queue.Endpoint, d *delivery.Delivery, reason string) *eventv1.EndpointChanged {
	h := &e.Health
	m := &eventv1.EndpointChanged{
		Endpoint: e.Name, Reason: reason, LastAnswer: answer(h.LastStatus, h.LastError), Failures: h.Failures, Waiting: waitingFor(e),
		FirstDelivery: h.First, LastStatus: int32(h.LastStatus), LastError: h.LastError, Activation: h.Activation,
	}
	if h.FailingSince != health.Never {
		m.FailingSince = timestamppb.New(time.UnixMilli(h.FailingSince + o.drift))
	}
	if d != nil {
		m.LastDelivery, m.EventType, m.EventSubject = d.ID, d.Event.Type, d.Event.Subject
		m.EventTopic, m.EventPartition, m.EventOffset = d.Event.Topic, d.Event.Partition, d.Event.Offset
	}
	return m
}

// answer is the last answer in short.
func answer(status int, err string) string {
	if status > 0 {
		return strconv.Itoa(status)
	}
	return err
}

func (o *owner) announceFailing(e *queue.Endpoint, d *delivery.Delivery, percent uint8) {
	m := o.state(e, d, "failing")
	m.Percent = int32(percent)
	since := strconv.FormatInt(e.Health.CountedSince+o.drift, 10)
	o.publishEvent(e, eventFailing, m, strconv.FormatInt(e.Health.Activation, 10), since, strconv.Itoa(int(percent)))
}

func (o *owner) announceSuspended(e *queue.Endpoint, d *delivery.Delivery) {
	o.publishEvent(e, eventSuspended, o.state(e, d, e.Health.Suspended.String()), strconv.FormatInt(e.Health.Activation, 10))
}

func (o *owner) announceReactivated(e *queue.Endpoint, was health.Reason) {
	o.publishEvent(e, eventReactivated, o.state(e, nil, was.String()), strconv.FormatInt(e.Health.Activation, 10))
}

// countExhausted counts a dead delivery, and publishes it unless another was published a moment before.
func (o *owner) countExhausted(r *result, now int64) {
	d, e := r.d, o.queue.Of(r.it)
	if o.Events == "" || isSystem(d.Event.Type) || e.Name == "" {
		return
	}
	x := &e.Health.Exhausted
	if x.Count++; x.Count == 1 {
		x.First = d.ID
	}
	status, why := r.status, r.why
	if r.number == 0 { // without an attempt of its own
		status, why = e.Health.LastStatus, e.Health.LastError
	}
	x.Last = health.Last{
		Delivery: d.ID, Notification: d.Notification, Reason: r.decision.Reason, Attempts: max(r.number, int(r.it.Attempts)),
		EventType: d.Event.Type, Subject: d.Event.Subject, Topic: d.Event.Topic, Partition: d.Event.Partition, Offset: d.Event.Offset,
		Status: status, Error: health.Short(why),
	}
	o.touch(e, false)
	o.announceExhausted(e, now)
}

// announceExhausted publishes the dead deliveries of an endpoint, at most once a minute.
func (o *owner) announceExhausted(e *queue.Endpoint, now int64) {
	x := &e.Health.Exhausted
	if x.PublishedAt != health.Never && now-x.PublishedAt < exhaustedEvery.Milliseconds() {
		return
	}
	last := &x.Last
	o.publishEvent(e, eventExhausted, &eventv1.DeliveryExhausted{
		Delivery: last.Delivery, Endpoint: e.Name, Notification: last.Notification, Attempts: int32(last.Attempts), Reason: last.Reason,
		LastAnswer: answer(last.Status, last.Error), Count: x.Count, FirstDelivery: x.First,
		EventType: last.EventType, EventSubject: last.Subject, EventTopic: last.Topic, EventPartition: last.Partition, EventOffset: last.Offset,
		LastStatus: int32(last.Status), LastError: last.Error,
	}, x.First)
	*x = health.Exhausted{PublishedAt: now}
	o.touch(e, false)
}
