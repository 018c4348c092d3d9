package config

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

// onServer is the service on a PostgreSQL of its own.
func onServer(t *testing.T) (*running, *storetest.Server) {
	server := storetest.StartPostgres(t)
	r := &running{t: t, db: storetest.NewPostgres(t, server.URL()), now: time.UnixMilli(1_800_000_000_000)}
	r.kafka = DefaultConfig().Kafka
	r.run()
	t.Cleanup(func() { r.stop() })
	return r, server
}

func (r *running) tryTenant(id string) error {
	_, err := r.tenants.CreateTenant(r.t.Context(), &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/" + id}})
	return err
}

// until waits until a condition holds.
func (r *running) until(what string, holds func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		if !pause.For(ctx, 20*time.Millisecond) {
			r.t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (r *running) failing() bool {
	for _, f := range r.env.Health.Failing() {
		if f.Check == "database" {
			return true
		}
	}
	return false
}

func TestDatabase_ThatIsAwayIsReportedAndReadersGoOn(t *testing.T) {
	t.Parallel()
	r, server := onServer(t)
	r.tenant("before")
	receive := r.heads()
	receive()
	server.Kill()
	// Its processes go on for a moment.
	made := int64(1)
	r.until("changes are refused", func() bool {
		err := r.tryTenant(fmt.Sprintf("t%d", made))
		if err == nil {
			made++
		} else if fault.KindOf(err) != fault.Unavailable {
			t.Errorf("a change answers %v", err)
		}
		return err != nil
	})
	r.until("the service reports it", r.failing)
	refused(t, r.tryTenant("meanwhile"), fault.Unavailable, "DATABASE_UNAVAILABLE")
	// The last change may have been answered when nothing could be read any more.
	head := r.head().GetRevision()
	if head < 1 || head > made {
		t.Errorf("a watch begins with revision %d of %d", head, made)
	}
	if n := len(r.snapshot(head).GetTenants()); int64(n) != head {
		t.Errorf("revision %d has %d tenants", head, n)
	}
	r.pass(time.Hour)
	refused(t, r.tryTenant("later"), fault.Unavailable, "DATABASE_UNAVAILABLE")
	if n := len(r.snapshot(head).GetTenants()); int64(n) != head {
		t.Errorf("an hour later revision %d has %d tenants", head, n)
	}
	server.Restart()
	r.until("the service reports that it answers", func() bool { return !r.failing() })
	if err := r.tryTenant("after"); err != nil {
		t.Fatal(err)
	}
	got := receive().GetRevision()
	for got < made+1 {
		got = receive().GetRevision()
	}
	if n := len(r.snapshot(0).GetTenants()); int64(n) != got {
		t.Errorf("revision %d has %d tenants", got, n)
	}
}

func TestDatabase_ThatIsReadOnlyIsReportedAndReadersGoOn(t *testing.T) {
	t.Parallel()
	r, server := onServer(t)
	r.tenant("before")
	server.ReadOnly(true)
	// Its processes take the setting over one by one, each a moment later.
	made := 0
	var err error
	r.until("changes are refused", func() bool {
		made++
		err = r.tryTenant(fmt.Sprintf("t%d", made))
		return err != nil
	})
	refused(t, err, fault.Unavailable, "DATABASE_READ_ONLY")
	if noted := r.env.Health.Noted(); len(noted) != 1 || noted[0].Code != "DATABASE_READ_ONLY" || r.failing() {
		t.Errorf("health notes %v", noted)
	}
	must[*configv1.Tenant](t)(r.tenants.GetTenant(t.Context(), &configv1.GetTenantRequest{Name: "tenants/before"}))
	server.ReadOnly(false)
	r.until("changes are taken", func() bool { return r.tryTenant("after") == nil })
	if noted := r.env.Health.Noted(); len(noted) != 0 {
		t.Errorf("health still notes %v", noted)
	}
}
