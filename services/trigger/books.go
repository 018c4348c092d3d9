package trigger

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
)

// compileBooks makes a book of each revision, once for all partitions.
func compileBooks(ctx context.Context, source *configclient.Source, clock func() time.Time, m *metrics) *configclient.Compiled[*Book] {
	return configclient.Compile(ctx, source, func(s *configclient.Snapshot, before *Book) *Book {
		begin := clock()
		made := NewBook(s, before)
		m.compiled(made.active, len(made.unreadable), clock().Sub(begin))
		return made
	})
}

// needs are what a book is made of.
func needs() configclient.Needs {
	all := []string{"tenants", "notifications", "users", "event_types"}
	for _, k := range table.Channels.Kinds() {
		all = append(all, configclient.ListFor(k.New()))
	}
	return configclient.Needs{Lists: all, Planned: true}
}

// IncidentNotification is of a notification that this binary can't compile: it is inactive until it is corrected.
const IncidentNotification = "NOTIFICATION_INACTIVE"

// inactive are those of the newest revision that was compiled.
func inactive(latest func() (*Book, bool)) []*daemon.Incident {
	newest, ok := latest()
	if !ok {
		return nil
	}
	return configclient.Incidents(IncidentNotification, newest.unreadable)
}
