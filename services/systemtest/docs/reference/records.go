package reference

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/catalog"
	channels "github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// sampleRecords are records of each topic, made as their services make them.
func sampleRecords() (map[string][]sampleRecord, error) {
	out := map[string][]sampleRecord{}
	for topic, typ := range map[string]string{
		stream.EventsOrdered: "usage.charged", stream.EventsUnordered: "billrun.failed", stream.Safeguards: "safeguard.reached",
	} {
		e, _ := event.Sample(typ, "acme", "sample-1", sampleTime)
		e.Source = "billing.example.com"
		r, err := e.Record(topic)
		if err != nil {
			return nil, err
		}
		out[topic] = []sampleRecord{{name: "event", contentType: event.ContentTypeProtobuf, record: r, value: e.Proto()}}
	}
	usage, _ := event.Lookup("usage.charged")
	e := catalog.Example(usage)
	value, err := e.Encode(nil)
	if err != nil {
		return nil, err
	}
	typed := func(contentType string) []stream.Header {
		return []stream.Header{{Key: event.HeaderContentType, Value: []byte(contentType)}}
	}
	text := []byte(catalog.Find(catalog.Name(usage.Name)).GetExample())
	data, err := catalog.DataJSON(e.Data)
	if err != nil {
		return nil, err
	}
	binary := event.Attributes{ID: e.ID, Type: e.Type, Source: e.Source, Tenant: e.Tenant, Subject: e.Subject, Time: e.Time}.Headers()
	binary[len(binary)-1].Value = []byte("application/json")
	out[stream.EventsInbound] = []sampleRecord{
		{name: "event", contentType: event.ContentTypeEvent, record: stream.Record{Value: value, Headers: typed(event.ContentTypeEvent)}, value: e.Proto()},
		{name: "structured", contentType: event.ContentTypeCloudEvent, record: stream.Record{Value: text, Headers: typed(event.ContentTypeCloudEvent)}},
		{name: "binary", contentType: "application/json", record: stream.Record{Value: data, Headers: binary}},
	}
	wrong := stream.Record{Topic: stream.EventsInbound, Offset: 4711, Value: []byte("{}"), Headers: typed(event.ContentTypeCloudEvent)}
	out[stream.EventsRejected] = []sampleRecord{{
		name: "rejected", contentType: event.ContentTypeCloudEvent, headers: "rejectedHeaders",
		record: event.Rejected(stream.EventsRejected, wrong, event.Identity{}, "UNDECODABLE", "specversion must be 1.0", sampleTime),
	}}
	if err := deliveries(out); err != nil {
		return nil, err
	}
	return out, others(out)
}

// deliveries adds those of the channels, an attempt and a dead letter.
func deliveries(out map[string][]sampleRecord) error {
	d := &delivery.Delivery{
		ID: "7f1d6c1e", Tenant: "acme", Notification: "data-safeguard", NotificationVersion: 3, Action: "notify", Endpoint: "tenants/acme/endpoints/crm",
		Event: delivery.EventReference{
			Source: "tollgate/safeguard", ID: "sample-1", Type: "safeguard.reached", Subject: "447700900123", Time: sampleTime, Topic: stream.Safeguards, Offset: 42,
		},
		Ordered: true, Sequence: 1, ContentType: "application/cloudevents+json", Body: []byte(`{"specversion":"1.0"}`), PlannedAt: sampleTime, Revision: 17,
	}
	for _, c := range channels.Channels.Served() {
		r, err := d.Record(c.Topic)
		if err != nil {
			return err
		}
		m := &deliveryv1.Delivery{}
		if err := proto.Unmarshal(r.Value, m); err != nil {
			return fmt.Errorf("read an example: %w", err)
		}
		out[c.Topic] = []sampleRecord{{name: "delivery", contentType: event.ContentTypeProtobuf, record: r, value: m}}
	}
	source := "tollgate/" + channels.Channels.Served()[0].Name
	attempt := &deliveryv1.Attempt{Delivery: d.ID, Number: 1, Started: timestamppb.New(sampleTime)}
	r, err := delivery.AttemptRecord(stream.DeliveriesAttempts, source, d, attempt, sampleTime)
	if err != nil {
		return err
	}
	out[stream.DeliveriesAttempts] = []sampleRecord{{name: "attempt", contentType: event.ContentTypeProtobuf, record: r, value: attempt}}
	if r, err = delivery.DeadRecord(stream.DeliveriesDead, source, d, attempt, sampleTime); err != nil {
		return err
	}
	dead := &deliveryv1.DeadLetter{}
	if err := proto.Unmarshal(r.Value, dead); err != nil {
		return fmt.Errorf("read an example: %w", err)
	}
	out[stream.DeliveriesDead] = []sampleRecord{{name: "dead", contentType: event.ContentTypeProtobuf, record: r, value: dead}}
	return nil
}

// others adds what only Tollgate and auditors read.
func others(out map[string][]sampleRecord) error {
	gap := fold.NewGap(&controlv1.Gap{Domain: "ordered", FromOffset: 10, ToOffset: 20, Who: "jo", Why: "INC-4712"}, sampleTime)
	r, err := gap.Record(stream.Audit)
	if err != nil {
		return err
	}
	out[stream.Audit] = []sampleRecord{{name: "gap", contentType: event.ContentTypeProtobuf, record: r, value: gap.Proto()}}
	plain := func(topic, name, key, typ string, m proto.Message) error {
		value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("write an example: %w", err)
		}
		headers := event.Attributes{
			ID: "sample-1", Type: typ, Source: "tollgate/sample", Tenant: "acme", Subject: "447700900123", Time: sampleTime,
			Schema: event.SchemaPrefix + string(m.ProtoReflect().Descriptor().FullName()),
		}.Headers()
		out[topic] = []sampleRecord{{
			name: name, contentType: event.ContentTypeProtobuf, value: m, record: stream.Record{Key: []byte(key), Value: value, Headers: headers},
		}}
		return nil
	}
	if err := plain(stream.TriggersDecisions, "decision", "acme/447700900123", "trigger.decided", &triggerv1.Decision{
		Id: "7f1d6c1e", Tenant: "acme", Notification: "data-safeguard", NotificationVersion: 3, Reason: triggerv1.Decision_REASON_CAP,
		Detail: "the cap is reached", Time: timestamppb.New(sampleTime), Revision: 17,
	}); err != nil {
		return err
	}
	if err := plain(stream.ProvisionExecutions, "execution", "acme/7", "provision.executed", &provisionv1.Execution{}); err != nil {
		return err
	}
	return plain(stream.StateSnapshots, "part", "ordered/0", "system.snapshot", &eventv1.Event{Type: "system.snapshot"})
}
