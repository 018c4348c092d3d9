package delivery

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Delivery is one message to one recipient, planned once: its bytes are the
// same at every attempt, its id the same however often it is planned.
type Delivery struct {
	// ID is made by NewID.
	ID     string
	Tenant string
	// Notification is the code of what planned it.
	Notification        string
	NotificationVersion int64
	// Action of the notification, by name.
	Action string
	// Firing tells firings of the notification for one event apart; may be empty.
	Firing string
	// Endpoint is the resource name of what carries the limits, whole; also the record's key.
	Endpoint string
	Event    EventReference
	// Ordered deliveries of a lane (endpoint, topic, subject) are sent one after the other.
	Ordered bool
	// Sequence is its place in the lane, Previous the id of the delivery before, empty for the first.
	Sequence int64
	Previous string

	ContentType string
	Body        []byte
	// Headers are those of the endpoint's payload profile, in order.
	Headers []Header
	// PlannedAt is the log time at which it was planned. Not sent before NotBefore, where that is set.
	PlannedAt, NotBefore time.Time
	// Revision of the configuration it was planned by.
	Revision int64
	// ReplayJob is the id of the job that published it again; empty at first.
	ReplayJob string

	// Trace is the W3C traceparent it came with, Correlation that of the event; they stand in the record's headers, never in
	// its value.
	Trace, Correlation string
	// Topic, Partition and Offset say where it stands. Set by Decode.
	Topic     string
	Partition int32
	Offset    int64
}

// EventReference says which event a delivery tells of, and where it stands.
type EventReference struct {
	Source, ID, Type, Subject string
	Time                      time.Time
	Topic                     string
	Partition                 int32
	Offset                    int64
}

// Header is one header of a request or an answer.
type Header struct{ Name, Value string }

// Types of the records that the topics of deliveries hold, in their ce_type.
const (
	typePlanned   = "delivery.planned"
	typeAttempted = "delivery.attempted"
	typeDead      = "delivery.dead"
)

// Record is the delivery as it stands on a topic (full name), keyed by its
// endpoint. The same delivery gives the same record, byte for byte.
func (d *Delivery) Record(topic string) (stream.Record, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(d.message())
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode delivery %s: %w", d.ID, err)
	}
	r := stream.Record{
		Topic: topic, Partition: stream.AnyPartition, Key: []byte(d.Endpoint), Value: value, Time: d.PlannedAt,
		Headers: d.headers(typePlanned, "tollgate/trigger", "tollgate.delivery.v1.Delivery", d.ID, d.PlannedAt),
	}
	return r, nil
}

func (d *Delivery) message() *deliveryv1.Delivery {
	m := &deliveryv1.Delivery{
		Id: d.ID, Tenant: d.Tenant, Notification: d.Notification, NotificationVersion: d.NotificationVersion,
		Action: d.Action, Firing: d.Firing, Endpoint: d.Endpoint,
		Event: &deliveryv1.EventReference{
			Source: d.Event.Source, Id: d.Event.ID, Type: d.Event.Type, Subject: d.Event.Subject, Time: stamp(d.Event.Time),
			Topic: d.Event.Topic, Partition: d.Event.Partition, Offset: d.Event.Offset,
		},
		Ordered: d.Ordered, Sequence: d.Sequence, Previous: d.Previous,
		ContentType: d.ContentType, Body: d.Body, Headers: headerMessages(d.Headers),
		PlannedAt: stamp(d.PlannedAt), NotBefore: stamp(d.NotBefore), Revision: d.Revision, ReplayJob: d.ReplayJob,
	}
	return m
}

// Decode reads a record of a deliveries topic. The delivery shares memory with
// the record.
func Decode(r stream.Record) (*Delivery, error) {
	var m deliveryv1.Delivery
	if err := proto.Unmarshal(r.Value, &m); err != nil {
		return nil, fmt.Errorf("decode delivery: %w", err)
	}
	e := m.GetEvent()
	d := &Delivery{
		ID: m.GetId(), Tenant: m.GetTenant(), Notification: m.GetNotification(), NotificationVersion: m.GetNotificationVersion(),
		Action: m.GetAction(), Firing: m.GetFiring(), Endpoint: m.GetEndpoint(),
		Event: EventReference{
			Source: e.GetSource(), ID: e.GetId(), Type: e.GetType(), Subject: e.GetSubject(), Time: moment(e.GetTime()),
			Topic: e.GetTopic(), Partition: e.GetPartition(), Offset: e.GetOffset(),
		},
		Ordered: m.GetOrdered(), Sequence: m.GetSequence(), Previous: m.GetPrevious(),
		ContentType: m.GetContentType(), Body: m.GetBody(),
		PlannedAt: moment(m.GetPlannedAt()), NotBefore: moment(m.GetNotBefore()), Revision: m.GetRevision(), ReplayJob: m.GetReplayJob(),
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset,
	}
	for _, h := range m.GetHeaders() {
		d.Headers = append(d.Headers, Header{Name: h.GetName(), Value: h.GetValue()})
	}
	if d.ID == "" || d.Endpoint == "" {
		return nil, fmt.Errorf("decode delivery: id %q and endpoint %q must both be set", d.ID, d.Endpoint)
	}
	if trace, ok := r.Header(event.HeaderTrace); ok {
		d.Trace = string(trace)
	}
	if correlation, ok := r.Header(event.HeaderCorrelation); ok {
		d.Correlation = string(correlation)
	}
	return d, nil
}

// size is about what the delivery takes in memory.
func (d *Delivery) size() int64 { return int64(len(d.Body)) + 1024 }

func headerMessages(hs []Header) []*deliveryv1.Header {
	if len(hs) == 0 {
		return nil
	}
	out := make([]*deliveryv1.Header, len(hs))
	one := make([]deliveryv1.Header, len(hs))
	for i, h := range hs {
		one[i].Name, one[i].Value = strings.ToValidUTF8(h.Name, "\uFFFD"), strings.ToValidUTF8(h.Value, "\uFFFD")
		out[i] = &one[i]
	}
	return out
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func moment(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// headers are those of a record about the delivery.
func (d *Delivery) headers(kind, source, message, id string, at time.Time) []stream.Header {
	return event.Attributes{
		ID: id, Type: kind, Source: source, Tenant: d.Tenant, Subject: d.Event.Subject, Correlation: d.Correlation, Time: at,
		Schema: event.SchemaPrefix + message, Trace: d.Trace,
	}.Headers()
}
