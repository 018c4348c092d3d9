package config

import (
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// keepNotificationVersion: the server counts, whatever the client sent.
func keepNotificationVersion(next, stored resource, _ func(string) bool) {
	n := next.(*configv1.Notification)
	n.Version = 0
	if stored != nil {
		n.Version = stored.(*configv1.Notification).GetVersion()
	}
}
