package config

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/services/config/store"
)

// The health of a target is what the service that sends found out about it. It is no part of a revision: it stands in a
// table of its own, a row for each target, and is shown beside what is configured. A report is of one activation, and is
// worth nothing once the target has another.

// maxReports is how many reports one call may bring.
const maxReports = 1000

// healthOf is the field of a kind's resources that holds their health; nil where they have none.
func healthOf(k *kind) protoreflect.FieldDescriptor {
	return k.make().ProtoReflect().Descriptor().Fields().ByName("health")
}

// activationOf is the activation of a resource, or that a health is of.
func activationOf(m protoreflect.Message) int64 {
	return m.Get(m.Descriptor().Fields().ByName("activation")).Int()
}

// report stores the reports of one call, all or none, and answers the names of those that were not taken: the target is
// gone, or has another activation.
func (r resources) report(ctx context.Context, reports protoreflect.List) (refused []string, err error) {
	if err := validateReports(reports); err != nil {
		return nil, err
	}
	tx, err := r.service.store.Begin(ctx)
	if err != nil {
		return nil, err
	}
	// After a commit this does nothing.
	defer tx.Rollback()
	now := timestamppb.New(r.service.clock())
	for i := range reports.Len() {
		name, health := reportOf(reports.Get(i).Message())
		row, ok, err := tx.Newest(ctx, r.kind.name, name)
		if err != nil {
			return nil, err
		}
		if !ok || row.Deleted {
			refused = append(refused, name)
			continue
		}
		target, err := r.kind.decode(row)
		if err != nil {
			return nil, err
		}
		if activationOf(target.ProtoReflect()) != activationOf(health) {
			refused = append(refused, name)
			continue
		}
		health.Set(health.Descriptor().Fields().ByName("report_time"), protoreflect.ValueOfMessage(now.ProtoReflect()))
		body, err := proto.MarshalOptions{Deterministic: true}.Marshal(health.Interface())
		if err != nil {
			return nil, fmt.Errorf("encode health of %s: %w", name, err)
		}
		if err := tx.Report(ctx, r.kind.name, name, body); err != nil {
			return nil, err
		}
	}
	if err := tx.Commit(); err != nil {
		return nil, err
	}
	return refused, nil
}

// reportOf is the target's name and its health.
func reportOf(report protoreflect.Message) (name string, health protoreflect.Message) {
	fields := report.Descriptor().Fields()
	return report.Get(fields.ByName("name")).String(), report.Mutable(fields.ByName("health")).Message()
}

// validateReports refuses reports with violations, each named by its place.
func validateReports(reports protoreflect.List) error {
	var f fault.Violations
	if n := reports.Len(); n < 1 || n > maxReports {
		f.Add("reports", "must be 1 to %d, are %d", maxReports, n)
		return f.Err(reason.RequestInvalid)
	}
	for i := range reports.Len() {
		name, health := reportOf(reports.Get(i).Message())
		if name == "" || len(name) > channel.MaxName {
			f.Add(at("reports", i)+".name", "must be 1 to %d bytes", channel.MaxName)
		}
		fields, _, err := exceeded(health.Interface())
		if err != nil {
			return err
		}
		for _, v := range append(fields, implausible(health)...) {
			f.Add(at("reports", i)+".health."+v.Field, "%s", v.Description)
		}
	}
	return f.Err(reason.RequestInvalid)
}

// implausible are the fields of a health that hold what their type does not rule out: states that are not known, times
// that are none, numbers below 0.
func implausible(health protoreflect.Message) (fields []fault.Violation) {
	add := func(f protoreflect.FieldDescriptor, text string) {
		fields = append(fields, fault.Violation{Field: string(f.Name()), Description: text})
	}
	for i := range health.Descriptor().Fields().Len() {
		f := health.Descriptor().Fields().Get(i)
		switch v := health.Get(f); f.Kind() {
		case protoreflect.EnumKind:
			if f.Enum().Values().ByNumber(v.Enum()) == nil {
				add(f, "is not known")
			}
		case protoreflect.Int32Kind, protoreflect.Int64Kind:
			if v.Int() < 0 {
				add(f, "must not be negative")
			}
		case protoreflect.MessageKind:
			if t, ok := v.Message().Interface().(*timestamppb.Timestamp); ok && health.Has(f) && t.CheckValid() != nil {
				add(f, "must be a time")
			}
		}
	}
	return fields
}

// withHealth sets the health of targets of one kind that are about to be shown, in the order of their names.
func withHealth(ctx context.Context, q store.Reader, k *kind, shown ...resource) error {
	field := healthOf(k)
	if field == nil || len(shown) == 0 {
		return nil
	}
	bodies, err := q.Health(ctx, k.name, shown[0].GetName(), shown[len(shown)-1].GetName())
	if err != nil {
		return err
	}
	for _, r := range shown {
		body, ok := bodies[r.GetName()]
		if !ok {
			continue
		}
		m := r.ProtoReflect()
		health := m.NewField(field).Message()
		if err := proto.Unmarshal(body, health.Interface()); err != nil {
			return fmt.Errorf("read health of %s: %w", r.GetName(), err)
		}
		if activationOf(m) == activationOf(health) {
			m.Set(field, protoreflect.ValueOfMessage(health))
		}
	}
	return nil
}
