package config

import (
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func validateNotification(f *fault.Violations, r resource) {
	f.AddErr("", rules.Validate(r.(*configv1.Notification), table.Channels))
}

// keepNotificationVersion: the server counts, whatever the client sent.
func keepNotificationVersion(next, stored resource, _ func(string) bool) {
	n := next.(*configv1.Notification)
	n.Version = 0
	if stored != nil {
		n.Version = stored.(*configv1.Notification).GetVersion()
	}
}
