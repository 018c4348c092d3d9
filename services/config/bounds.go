package config

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// How much there may be at most. Every replica and every service that follows has all of it in memory; so a tenant has a share
// that leaves the others theirs. The documents name these numbers.
const (
	maxResource          = 256 << 10 // bytes, encoded
	maxTenantBytes       = 24 << 20
	maxInstallationBytes = 96 << 20
	maxInstallation      = 200_000 // resources
)

// maxNotificationsAType is how many active ones a tenant may have on one type: one event is evaluated by all of them.
var maxNotificationsAType = 1_000

// held is how much of the configuration there is, without deleted resources.
type held struct{ number, bytes int64 }

// places are where a resource counts: among its kind of its tenant, in its tenant, in the installation. What is in no
// snapshot counts among its kind alone.
func places(kind, name string) []string {
	tenant := tenantOf(name)
	switch kind {
	case nameTenant:
		return []string{kind, tenant, ""}
	case nameSuppression:
		return []string{tenant + "/" + kind}
	}
	return []string{tenant + "/" + kind, tenant, ""}
}

// bounds refuses what would make the tenant or the installation larger than it may be. A change that makes nothing larger
// always passes, so that a tenant past a bound can come back.
func bounds(ctx context.Context, q queries, k *kind, d draft) error {
	added := d.action != actionUpdate
	grown := int64(proto.Size(d.next))
	if !added {
		grown -= int64(proto.Size(d.stored))
	}
	var f fault.Violations
	for i, place := range places(k.name, d.next.GetName()) {
		h := q.index.of(place)
		bound := [...]struct {
			number, bytes int64
			what          string
		}{{k.most, 0, k.collection}, {0, maxTenantBytes, "a tenant"}, {maxInstallation, maxInstallationBytes, "an installation"}}[i]
		if added && bound.number > 0 && h.number >= bound.number {
			f.Add("", "%s may have %d resources, and has %d: delete some first", bound.what, bound.number, h.number)
		}
		if grown > 0 && bound.bytes > 0 && h.bytes+grown > bound.bytes {
			f.Add("", "the configuration of %s may take %d bytes, and would take %d: delete some first", bound.what, bound.bytes, h.bytes+grown)
		}
	}
	if n, ok := d.next.(*configv1.Notification); ok && n.GetActive() {
		if err := notificationsAType(ctx, q, &f, n); err != nil {
			return err
		}
	}
	if err := f.Err("TOO_MANY"); err != nil {
		return below(k, err)
	}
	return nil
}

// notificationsAType refuses an active notification on a type that has as many as one event may be evaluated by.
func notificationsAType(ctx context.Context, q queries, f *fault.Violations, n *configv1.Notification) error {
	tenant := tenantOf(n.GetName())
	types, err := namesOfTypes(ctx, q, tenant)
	if err != nil {
		return err
	}
	var full []string
	for _, t := range rules.TypesOf(n, types) {
		if q.index.number(list{evaluatedOn, tenant}, reads(t), n.GetName()) >= maxNotificationsAType {
			full = append(full, t)
		}
	}
	if len(full) > 0 {
		f.Add("trigger.event_types", "%s has %d active notifications of the tenant, at most %d: deactivate some first", strings.Join(full, ", "), maxNotificationsAType, maxNotificationsAType)
	}
	return nil
}

// reads reports whether an event type of a notification, such as usage.*, takes in a type.
func reads(t string) func(pattern string) bool {
	return func(pattern string) bool {
		return rules.Uses(&configv1.Notification{Trigger: &configv1.Trigger{EventTypes: []string{pattern}}}, t)
	}
}
