package audit

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
)

// Types of the records, by their header ce_type.
const (
	TypeChange   = "audit.change"
	TypeRefusals = "audit.refusals"
	TypeGap      = "audit.gap"
)

// Schema is the ce_dataschema of every record.
const Schema = event.SchemaPrefix + "tollgate.audit.v1.AuditRecord"

// maxValue is how large a record may be: the topic takes 2 MiB, headers included.
const maxValue = 1 << 20

// Record is r as a record of a topic (full name), written by a service and stamped with the time of writing: Kafka refuses
// stamps that are far from its own clock. Its bytes follow from r alone. Where its values are too large it has less of
// them, and r.Cut is set.
func Record(topic, service string, now time.Time, r *auditv1.AuditRecord) (stream.Record, error) {
	shorten(r)
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode audit record %s: %w", r.GetId(), err)
	}
	out := stream.Record{
		Topic: topic, Partition: stream.AnyPartition, Value: value, Time: now,
		Headers: event.Attributes{
			ID: r.GetId(), Type: TypeOf(r), Source: "tollgate/" + service, Tenant: r.GetTenant(), Subject: r.GetChange().GetName(),
			Time: r.GetTime().AsTime(), Schema: Schema,
		}.Headers(),
	}
	if r.GetTenant() != "" {
		out.Key = []byte(r.GetTenant())
	}
	return out, nil
}

// shorten leaves out values of a change, and then its fields, until the record is within its bound.
func shorten(r *auditv1.AuditRecord) {
	if proto.Size(r) <= maxValue {
		return
	}
	r.Cut = true
	for _, f := range r.GetChange().GetFields() {
		f.Before, f.After = nil, nil
	}
	if proto.Size(r) > maxValue {
		r.GetChange().Fields = nil
	}
}

// TypeOf is the type of a record.
func TypeOf(r *auditv1.AuditRecord) string {
	switch r.GetWhat().(type) {
	case *auditv1.AuditRecord_Refusals:
		return TypeRefusals
	case *auditv1.AuditRecord_Gap:
		return TypeGap
	}
	return TypeChange
}

// Method is the full name of a method of gRPC without the slash that it begins with.
func Method(full string) string { return strings.TrimPrefix(full, "/") }
