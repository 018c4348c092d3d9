package config

import (
	"context"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/class"
)

func validateClass(f *fault.Violations, r resource) { class.Validate(f, r.(*configv1.ClassOfService)) }

// classInUse refuses while the tenant activates unknown numbers with the class, and without force in every case.
func classInUse(ctx context.Context, q queries, name string, force bool) error {
	if err := classIsDefault(ctx, q, name); err != nil || force {
		return err
	}
	return fault.New(fault.Conflict, "FORCE_REQUIRED", "%s may have subscribers, which are not counted. Once it is deleted their usage is rejected "+
		"(CLASS_OF_SERVICE_UNKNOWN; it can be sent again after Undelete, or after they have another class), and Authorize and Charge answer by "+
		"on_unknown with UNKNOWN. Move them to another class first (subscriber.cos_changed), or set force", name)
}

func classIsDefault(ctx context.Context, q queries, name string) error {
	row, ok, err := q.Newest(ctx, nameTenant, tenantOf(name))
	if err != nil || !ok || row.Deleted {
		return err
	}
	var t configv1.Tenant
	if err := unmarshal(row, &t); err != nil {
		return err
	}
	if id := t.GetSubscribers().GetDefaultClassOfService(); id == "" || className(t.GetName(), id) != name {
		return nil
	}
	return fault.New(fault.Conflict, "CLASS_OF_SERVICE_IN_USE", "%s is the default class of %s: name another one there first", name, t.GetName())
}

func className(tenant, id string) string { return tenant + "/" + classes + "/" + id }
