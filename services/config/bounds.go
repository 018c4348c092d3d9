package config

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// How much there may be at most. A snapshot holds all of it in one message, which services take up to 128 MiB of, and every
// replica holds it in memory; so a tenant has a share that leaves the others theirs. The documents name these numbers.
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

// holdings are how much there is of each kind, of each tenant and in all. They are read once, and used and changed by whatever
// has the one transaction that writes.
type holdings struct {
	read bool
	of   map[string]held
}

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

func (h *holdings) add(kind, name string, number, bytes int64) {
	for _, place := range places(kind, name) {
		x := h.of[place]
		h.of[place] = held{x.number + number, x.bytes + bytes}
	}
}

func (h *holdings) load(ctx context.Context, q queries) error {
	if h.read {
		return nil
	}
	h.of = map[string]held{}
	rows, err := q.QueryContext(ctx, `SELECT kind, name, length(body) FROM resource_versions WHERE until IS NULL AND deleted = 0`)
	if err != nil {
		return fmt.Errorf("count resources: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, name string
		var bytes int64
		if err := rows.Scan(&kind, &name, &bytes); err != nil {
			return fmt.Errorf("count resources: %w", err)
		}
		h.add(kind, name, 1, bytes)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count resources: %w", err)
	}
	h.read = true
	return nil
}

// change is what a draft makes of them, once its version is written.
func (h *holdings) change(k *kind, d draft) {
	var number, bytes int64
	if d.action != actionCreate && d.action != actionUndelete {
		number, bytes = -1, -int64(proto.Size(d.stored))
	}
	if d.action != actionDelete {
		number, bytes = number+1, bytes+int64(proto.Size(d.next))
	}
	h.add(k.name, d.next.GetName(), number, bytes)
}

// bounds refuses what would make the tenant or the installation larger than it may be. A change that makes nothing larger
// always passes, so that a tenant past a bound can come back.
func (s *service) bounds(ctx context.Context, q queries, k *kind, d draft) error {
	added := d.action != actionUpdate
	grown := int64(proto.Size(d.next))
	if !added {
		grown -= int64(proto.Size(d.stored))
	}
	var f fault.Violations
	for i, place := range places(k.name, d.next.GetName()) {
		h := s.holdings.of[place]
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
	if n, ok := d.next.(*configv1.Notification); ok && n.GetActive() && s.holdings.of[places(k.name, n.GetName())[0]].number >= int64(maxNotificationsAType) {
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
	rows, err := list(ctx, q, nameNotification, tenantOf(n.GetName())+"/", "", false, -1)
	if err != nil {
		return err
	}
	types, err := namesOfTypes(ctx, q, tenantOf(n.GetName()))
	if err != nil {
		return err
	}
	count := map[string]int{}
	for _, row := range rows {
		var other configv1.Notification
		if row.name == n.GetName() {
			continue
		}
		if err := unmarshal(row, &other); err != nil {
			return err
		}
		if other.GetActive() {
			for _, t := range rules.TypesOf(&other, types) {
				count[t]++
			}
		}
	}
	var full []string
	for _, t := range rules.TypesOf(n, types) {
		if count[t] >= maxNotificationsAType {
			full = append(full, t)
		}
	}
	if len(full) > 0 {
		f.Add("trigger.event_types", "%s has %d active notifications of the tenant, at most %d: deactivate some first", strings.Join(full, ", "), maxNotificationsAType, maxNotificationsAType)
	}
	return nil
}
