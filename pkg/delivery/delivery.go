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

// Delivery is one message to one recipient, planned once. Its bytes are the same at every attempt; its id is the same
// however often it is planned.
type Delivery struct {
	// ID is made by NewID.
	ID     string
	Tenant string
	// Notification is the code of the notification that planned it.
	Notification        string
	NotificationVersion int64
	// Action is the name of the notification's action.
	Action string
	// Firing distinguishes firings of the notification for one event; may be empty.
	Firing string
	// Endpoint is the full resource name of the endpoint whose limits apply; it is also the key of the record.
	Endpoint string
	Event    EventReference
	// Recipient is the address that it goes to; empty where the endpoint is all there is.
	Recipient string
	// Ordered deliveries of one ordering key (endpoint, recipient, topic, subject) are sent one after the other.
	Ordered bool
	// Sequence is the position within the ordering key; Previous is the id of the delivery before, empty for the first.
	Sequence int64
	Previous string

	ContentType string
	Body        []byte
	// Key of the record that a delivery to a topic is; nil for others.
	Key []byte
	// Headers are the headers of the endpoint's payload profile, in order.
	Headers []Header
	// PlannedAt is the log time of planning. NotBefore, where set, is the earliest time to send, ExpiresAt the latest.
	PlannedAt, NotBefore, ExpiresAt time.Time
	// Collapse, where set, is the text of which only the newest delivery that waits for the endpoint is sent.
	Collapse string
	// Revision is the revision of the configuration that planned it.
	Revision int64
	// ReplayJob is the id of the replay job that published it again; empty for the first publication.
	ReplayJob string

	// Trace is the W3C traceparent, Correlation the event's. Both are record headers, never part of the value.
	Trace, Correlation string
	// Topic, Partition and Offset locate the record. Decode sets them.
	Topic     string
	Partition int32
	Offset    int64
}

// EventReference identifies the event of a delivery and its position in the log.
type EventReference struct {
	Source, ID, Type, Subject string
	Time                      time.Time
	Topic                     string
	Partition                 int32
	Offset                    int64
}

// Header is one header of a request or a response.
type Header struct{ Name, Value string }

// Values of ce_type of the records on the topics of deliveries.
const (
	typePlanned   = "delivery.planned"
	typeAttempted = "delivery.attempted"
	typeDead      = "delivery.dead"
)

// Record is the delivery as a record of a topic (full name), keyed by its endpoint. The same delivery gives the same
// record, byte for byte.
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
		Recipient: d.Recipient, Ordered: d.Ordered, Sequence: d.Sequence, Previous: d.Previous,
		ContentType: d.ContentType, Body: d.Body, Headers: headerMessages(d.Headers),
		PlannedAt: stamp(d.PlannedAt), NotBefore: stamp(d.NotBefore), Revision: d.Revision, ReplayJob: d.ReplayJob,
		ExpiresAt: stamp(d.ExpiresAt), Collapse: d.Collapse, Key: d.Key,
	}
	return m
}

// Decode reads a record of a deliveries topic. The delivery shares memory with the record.
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
		Recipient: m.GetRecipient(), Ordered: m.GetOrdered(), Sequence: m.GetSequence(), Previous: m.GetPrevious(),
		ContentType: m.GetContentType(), Body: m.GetBody(),
		PlannedAt: moment(m.GetPlannedAt()), NotBefore: moment(m.GetNotBefore()), Revision: m.GetRevision(), ReplayJob: m.GetReplayJob(),
		ExpiresAt: moment(m.GetExpiresAt()), Collapse: m.GetCollapse(), Key: m.GetKey(),
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

// headers are the CloudEvents headers of a record about the delivery.
func (d *Delivery) headers(kind, source, message, id string, at time.Time) []stream.Header {
	return event.Attributes{
		ID: id, Type: kind, Source: source, Tenant: d.Tenant, Subject: d.Event.Subject, Correlation: d.Correlation, Time: at,
		Schema: event.SchemaPrefix + message, Trace: d.Trace,
	}.Headers()
}
