package config

import (
	"context"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func checkNotification(f *fault.Faults, r resource) {
	n := r.(*configv1.Notification)
	f.AddErr("", rules.Check(n))
}

func judgeNotification(ctx context.Context, q queries, f *fault.Faults, r resource) error {
	n := r.(*configv1.Notification)
	tenant := tenantOf(n.GetName())
	for i, a := range n.GetActions() {
		name := a.GetWebhook().GetEndpoint()
		if !strings.HasPrefix(name, tenant+"/") {
			continue // refused by the rules
		}
		row, ok, err := newest(ctx, q, nameEndpoint, name)
		if err != nil {
			return err
		}
		if !ok || row.deleted {
			f.Add(at("actions", i)+".webhook.endpoint", "%s does not exist", cut(name))
		}
	}
	return nil
}

// keepNotificationVersion: the server counts, whatever the client sent.
func keepNotificationVersion(next, stored resource) {
	n := next.(*configv1.Notification)
	n.Version = 0
	if stored != nil {
		n.Version = stored.(*configv1.Notification).GetVersion()
	}
}
