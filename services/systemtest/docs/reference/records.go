package reference

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/catalog"
	channels "github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/snapshot"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/provision"
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
	decision := &triggerv1.Decision{
		Id: "7f1d6c1e", Tenant: "acme", Notification: "data-safeguard", NotificationVersion: 3, Reason: triggerv1.Decision_REASON_CAP,
		Detail: "the cap is reached", Time: timestamppb.New(sampleTime), Revision: 17,
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(decision)
	if err != nil {
		return fmt.Errorf("write an example: %w", err)
	}
	out[stream.TriggersDecisions] = []sampleRecord{{
		name: "decision", contentType: event.ContentTypeProtobuf, value: decision,
		record: stream.Record{Key: []byte("acme/447700900123"), Value: value, Headers: event.Attributes{
			ID: decision.GetId(), Type: "trigger.decided", Source: "tollgate/trigger", Tenant: "acme", Subject: "447700900123", Time: sampleTime,
			Schema: event.SchemaPrefix + string(decision.ProtoReflect().Descriptor().FullName()),
		}.Headers()},
	}}
	if err := audits(out); err != nil {
		return err
	}
	execution := &provisionv1.Execution{
		Id: "9b1c22aa", Tenant: "acme", Stage: provisionv1.Execution_STAGE_BEFORE, Type: "client.created", EventId: "sample-1", ObjectId: "7",
		Time: timestamppb.New(sampleTime), Caller: "0a1b2c3d", Correlation: "order-4711", Revision: 17,
		Sent: []byte(`{"type":"client.created","data":{"name":"****"}}`), Received: []byte(`{"decision":"forbid","reason":"the name is taken"}`),
		Result: &provisionv1.HandlerResult{
			Handler: "tenants/acme/hooks/names", Outcome: provisionv1.Outcome_OUTCOME_FORBADE, Text: "the name is taken", Status: 200,
			Took: durationpb.New(12 * time.Millisecond),
		},
	}
	r, err := provision.Record(stream.ProvisionExecutions, execution, "client/7")
	if err != nil {
		return err
	}
	out[stream.ProvisionExecutions] = []sampleRecord{{name: "execution", contentType: event.ContentTypeProtobuf, record: r, value: execution}}
	return snapshots(out)
}

// audits adds a record of each kind.
func audits(out map[string][]sampleRecord) error {
	at := timestamppb.New(sampleTime)
	for _, one := range []struct {
		name, service string
		record        *auditv1.AuditRecord
	}{
		{"change", "config", &auditv1.AuditRecord{
			Id: "7c5e1f0a9b3d2468-17", Time: at, Tenant: "acme", Caller: "0a1b2c3d", Method: "tollgate.config.v1.NotificationService/UpdateNotification",
			What: &auditv1.AuditRecord_Change{Change: &configv1.Change{
				Revision: 17, History: 0x7c5e1f0a9b3d2468, Time: at, Caller: "0a1b2c3d", Action: "update", Kind: "Notification",
				Name: "tenants/acme/notifications/data-safeguard",
				Fields: []*configv1.FieldChange{{
					Path: "trigger.filter", Before: structpb.NewStringValue("data.blocked"), After: structpb.NewStringValue("data.blocked && data.overshoot.units > 0"),
				}},
			}},
		}},
		{"refusals", "ingest", &auditv1.AuditRecord{
			Id: "f20c6c5d3f0f4c2b9a4f8e61d7703c15", Time: at, Tenant: "acme", Caller: "4d5e6f70", Method: "tollgate.ingest.v1.IngestService/Publish",
			What: &auditv1.AuditRecord_Refusals{Refusals: &auditv1.Refusals{
				Count: 600, Reasons: map[string]int64{reason.APIKeyExpired: 600}, Address: "192.0.2.7", Service: "ingest", Process: "K7QX2M4A",
			}},
		}},
		{"gap", "operator", &auditv1.AuditRecord{
			Id: "gap/safeguard/10/20/3", Time: at, Method: "tollgate state accept-gap", Who: "jo", Why: "INC-4712",
			What: &auditv1.AuditRecord_Gap{Gap: &auditv1.Gap{
				Gap:   &controlv1.Gap{Domain: "safeguard", FromOffset: 10, ToOffset: 20, Who: "jo", Why: "INC-4712"},
				Topic: "tollgate.events.ordered", Partition: 3,
			}},
		}},
	} {
		r, err := audit.Record(stream.Audit, one.service, sampleTime, one.record)
		if err != nil {
			return err
		}
		out[stream.Audit] = append(out[stream.Audit], sampleRecord{name: one.name, contentType: event.ContentTypeProtobuf, record: r, value: one.record})
	}
	return nil
}

// snapshots adds the marks that a snapshot is between.
func snapshots(out map[string][]sampleRecord) error {
	s := snapshot.Snapshot{Watermark: state.Watermark{Offset: 4711}}
	for i, m := range s.Records(state.Partition{Domain: "safeguard", Number: 3}) {
		m.Snapshot = "JZ5Q3W7N4ZB2XK6V5T4M" // drawn for each snapshot
		r, err := snapshot.Record(stream.StateSnapshots, m)
		if err != nil {
			return err
		}
		name := []string{"begin", "end"}[i]
		out[stream.StateSnapshots] = append(out[stream.StateSnapshots], sampleRecord{name: name, contentType: event.ContentTypeProtobuf, record: r, value: m})
	}
	return nil
}
