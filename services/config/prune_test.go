package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// keeps is a Kafka that keeps logs for a time, or does not answer.
type keeps struct {
	cluster
	retention time.Duration
	err       error
}

func (k keeps) Retention(context.Context, ...string) (time.Duration, error) {
	return k.retention, k.err
}

// What a log that is kept may name is kept, however long that is.
func TestPrune_GoesByHowLongLogsAreKept(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, of := range map[string]struct {
		kafka keeps
		// after is the first day on which the oldest version is pruned; 0: on none.
		after int
	}{
		"a week":                      {keeps{retention: 7 * day}, 35},
		"longer than versions":        {keeps{retention: 60 * day}, 61},
		"forever":                     {keeps{retention: stream.Forever}, 0},
		"nobody knows how long":       {keeps{err: errors.New("no broker answers")}, 0},
		"less than a day before ever": {keeps{retention: stream.Forever - time.Hour}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			metrics, err := newMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			x := &index{log: zap.NewNop()}
			db, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "config.db")}, x, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			now := time.UnixMilli(1_800_000_000_000)
			s := &service{store: db, index: x, notifier: newNotifier(), metrics: metrics, log: zap.NewNop(), cluster: of.kafka, clock: func() time.Time { return now }}
			tenants := resources{s, tenantKind}
			if _, err := tenants.create(t.Context(), &configv1.Tenant{Name: "tenants/acme"}, false); err != nil {
				t.Fatal(err)
			}
			for i := range keptNewest + 1 {
				if _, err := tenants.update(t.Context(), &configv1.Tenant{Name: "tenants/acme", DisplayName: fmt.Sprint(i)}, nil, false, false); err != nil {
					t.Fatal(err)
				}
			}
			began := now
			first := 0
			for days := 1; days <= 100 && first == 0; days++ {
				now = began.Add(time.Duration(days)*day + time.Millisecond)
				if err := s.prune(t.Context()); (err != nil) != (of.kafka.err != nil) {
					t.Fatal(err)
				}
				found, err := db.Snapshot(t.Context(), &configv1.Position{Revision: 1})
				if err != nil {
					t.Fatal(err)
				}
				if found.Pruned {
					first = days
				}
			}
			if first != of.after {
				t.Errorf("it is pruned on day %d, want %d", first, of.after)
			}
			if first == 0 {
				return
			}
			err = s.snapshot(t.Context(), &configv1.SnapshotRequest{Revision: 1}, func(*configv1.SnapshotResponse) error { return nil })
			if fault.ReasonOf(err) != "REVISION_PRUNED" {
				t.Errorf("a snapshot of it answers %v", err)
			}
			if found, err := db.Snapshot(t.Context(), &configv1.Position{Revision: 3}); err != nil || found.Pruned {
				t.Errorf("one of the newest %d is pruned, %v", keptNewest, err)
			}
		})
	}
}
