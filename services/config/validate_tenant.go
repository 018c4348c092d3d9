package config

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	// maxUnknownGrace: usage that waits lies in memory and in Redis.
	maxUnknownGrace = 24 * time.Hour
)

func validateTenant(ctx context.Context, q queries, f *fault.Violations, r resource) error {
	t := r.(*configv1.Tenant)
	_, err := policyOf(t)
	f.AddErr("outbound", err)
	var inner fault.Violations
	if err := validateSubscribers(ctx, q, &inner, t); err != nil {
		return err
	}
	f.AddErr("subscribers", inner.Err(reason.ConfigInvalid))
	checkZone(f, "time_zone", t.GetTimeZone())
	if _, known := configv1.UnknownFields_name[int32(t.GetUnknownFields())]; !known {
		f.Add("unknown_fields", "%d is not known", t.GetUnknownFields())
	}
	if _, known := configv1.ExecutionLog_name[int32(t.GetExecutionLog())]; !known {
		f.Add("execution_log", "%d is not known", t.GetExecutionLog())
	}
	stillPermitted(q, f, t)
	return validateDefaults(ctx, q, f, t)
}

func validateSubscribers(ctx context.Context, q queries, f *fault.Violations, t *configv1.Tenant) error {
	p := t.GetSubscribers()
	if grace := p.GetUnknownGrace(); grace != nil {
		if err := grace.CheckValid(); err != nil || grace.AsDuration() < 0 || grace.AsDuration() > maxUnknownGrace {
			f.Add("unknown_grace", "must be from 0 to %d hours", int(maxUnknownGrace.Hours()))
		}
	}
	if window := p.GetDedupWindow(); window != nil {
		if err := window.CheckValid(); err != nil || window.AsDuration() < configclient.DefaultDedupWindow || window.AsDuration() > configclient.MaxDedupWindow {
			f.Add("dedup_window", "must be from %d to %d hours", int(configclient.DefaultDedupWindow.Hours()), int(configclient.MaxDedupWindow.Hours()))
		}
	}
	if _, known := configv1.UnknownPolicy_name[int32(p.GetOnUnknown())]; !known {
		f.Add("on_unknown", "%d is not known", p.GetOnUnknown())
	}
	if _, known := configv1.TooLateToDeduplicate_name[int32(p.GetTooLateToDeduplicate())]; !known {
		f.Add("too_late_to_deduplicate", "%d is not known", p.GetTooLateToDeduplicate())
	}
	id := p.GetDefaultClassOfService()
	if id == "" {
		return nil
	}
	if !idPattern.MatchString(id) {
		f.Add("default_class_of_service", "must be the last part of a class's name, such as basic, not %q", cut(id))
		return nil
	}
	row, ok, err := q.Newest(ctx, nameClass, className(t.GetName(), id))
	if err != nil {
		return err
	}
	if !ok || row.Deleted {
		f.Add("default_class_of_service", "%s does not exist", className(t.GetName(), id))
	}
	return nil
}

// policyOf is where the tenant's targets may lie. What the operator denies to all is the sender's configuration.
func policyOf(t *configv1.Tenant) (outbound.Policy, error) {
	p := t.GetOutbound()
	return outbound.PolicyOf(p.GetPorts(), p.GetPlainHttp(), p.GetNetworks(), nil)
}

// tenantInUse refuses while the tenant has any other resource: a customer's rules are not deleted by one name.
func tenantInUse(ctx context.Context, q queries, name string, _ bool) error {
	// No suppressions: an address stays suppressed while its tenant is deleted.
	below := []string{nameClass, nameEventType, nameNotification, nameUser, nameAPIKey}
	for _, k := range table.Kinds() {
		below = append(below, k.Field)
	}
	var left []string
	for _, kind := range below {
		rows, err := q.List(ctx, kind, name+"/", "", false, maxNamed+1)
		if err != nil {
			return err
		}
		for _, row := range rows {
			left = append(left, row.Name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, "TENANT_IN_USE", "%s still has %s: delete that first", name, named(left))
}

// maxNamed is how many names a message lists.
const maxNamed = 10

func named(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + " and more"
	}
	return strings.Join(names, ", ")
}

// at is the path of an element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
