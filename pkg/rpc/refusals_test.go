package rpc

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

func newRefusals(t *testing.T, clock func() time.Time) *Refusals {
	t.Helper()
	r, err := NewRefusals("x", clock, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func byKey(all []*Refusal) map[string]*Refusal {
	out := map[string]*Refusal{}
	for _, one := range all {
		out[fmt.Sprintf("%s %s%s %s", one.Minute.Format("15:04"), one.Caller, one.From, one.Method)] = one
	}
	return out
}

func TestRefusals_AreOneForEachCallerMethodAndMinute(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 10, 0, time.UTC)
	r := newRefusals(t, func() time.Time { return now })
	unknown := fault.New(fault.Unauthenticated, reason.APIKeyUnknown, "no")
	denied := fault.New(fault.Denied, reason.ScopeRequired, "no")
	for range 10 {
		r.add("/m/A", "k1", "a", "10.0.0.1", unknown)
	}
	r.add("/m/A", "k1", "a", "10.0.0.2", denied)
	r.add("/m/B", "k1", "a", "10.0.0.1", denied)
	r.add("/m/A", "", "", "10.0.0.3", unknown)
	r.add("/m/A", "", "", "10.0.0.4", unknown)
	r.add("/m/A", "k1", "a", "10.0.0.1", fault.New(fault.NotFound, "X_NOT_FOUND", "no"))
	if got := r.Take(now); len(got) != 0 {
		t.Errorf("a minute that is not over has %v", got)
	}
	now = now.Add(time.Minute)
	r.add("/m/A", "k1", "a", "10.0.0.1", unknown)
	got := byKey(r.Take(now))
	want := map[string]int64{"12:00 k1 /m/A": 11, "12:00 k1 /m/B": 1, "12:00 10.0.0.3 /m/A": 1, "12:00 10.0.0.4 /m/A": 1}
	for name, n := range want {
		if got[name] == nil || got[name].Count != n {
			t.Errorf("%s: %+v, want %d", name, got[name], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
	}
	if one := got["12:00 k1 /m/A"]; one.Address != "10.0.0.1" || one.Tenant != "a" || !maps.Equal(one.Reasons, map[string]int64{reason.APIKeyUnknown: 10, reason.ScopeRequired: 1}) {
		t.Errorf("%+v", one)
	}
	if rest := r.Take(time.Time{}); len(rest) != 1 || rest[0].Count != 1 {
		t.Errorf("at the end there is %v", rest)
	}
}

// A caller that draws keys at random takes a bounded memory, and nothing is lost of how often it was refused.
func TestRefusals_OfTooManyCallersAreSummed(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r := newRefusals(t, func() time.Time { return now })
	unknown := fault.New(fault.Unauthenticated, reason.APIKeyUnknown, "no")
	const callers = 3 * countedAMinute
	for i := range callers {
		r.add("/m/A", fmt.Sprint(i), "", "10.0.0.1", unknown)
	}
	all := r.Take(time.Time{})
	if len(all) != countedAMinute+1 {
		t.Errorf("%d entries", len(all))
	}
	total := int64(0)
	for _, one := range all {
		if total += one.Count; one.Others && (one.Caller != "" || one.Count != callers-countedAMinute) {
			t.Errorf("the others are %+v", one)
		}
	}
	if total != callers {
		t.Errorf("%d are counted", total)
	}
	// Nobody takes them for hours.
	for range 20 {
		now = now.Add(time.Minute)
		for i := range callers {
			r.add("/m/A", fmt.Sprint(i), "", "10.0.0.1", unknown)
		}
	}
	dropped := testutil.ToFloat64(r.dropped)
	if len(r.held) > refusalsHeld || dropped == 0 {
		t.Errorf("%d are held, %v are dropped", len(r.held), dropped)
	}
	// What is given back has its place, or is counted.
	all = r.Take(time.Time{})
	for i := range callers {
		r.add("/m/A", fmt.Sprint(i), "", "10.0.0.1", unknown)
	}
	r.Return(all)
	held := 0
	for _, one := range r.Take(time.Time{}) {
		held += int(one.Count)
	}
	if total := float64(held) + testutil.ToFloat64(r.dropped); total != 21*callers {
		t.Errorf("%v refusals are held or counted as dropped, of %d", total, 21*callers)
	}
}

func TestServer_CountsWhatItRefuses(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	r := serve(t, func(_ *Config, env *daemon.Env) { env.Clock = func() time.Time { return now } })
	expired := tenantKey("expired", func(k *access.Key) { k.Expires = now.Add(-time.Hour) })
	r.server.Authorizer().Replace([]access.Key{tenantKey("one"), expired})
	ctx := t.Context()
	get := func(key, name string) {
		_, _ = configv1.NewTenantServiceClient(dial(t, r.address, key)).GetTenant(ctx, &configv1.GetTenantRequest{Name: name})
	}
	get("", "tenants/a")
	get("tg_unknown", "tenants/a")
	get("tg_unknown", "tenants/a")
	get("expired", "tenants/a")
	get("one", "tenants/a") // lacks the scope
	_ = dial(t, r.address, "tg_unknown").Invoke(ctx, "/nobody.knows/This", &configv1.GetTenantRequest{}, &configv1.Tenant{})
	one := dial(t, r.address, "one")
	_, err := optionsv1.NewOptionInventoryServiceClient(one).GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{Name: "tenants/b/subscribers/1"})
	if fault.ReasonOf(err) != reason.TenantDenied {
		t.Fatal(err)
	}
	get(testKey, "tenants/nobody") // not found is no refusal
	got := byKey(r.server.Authorizer().Refusals().Take(time.Time{}))
	caller := func(secret string) string { return access.HashOf(secret).Caller() }
	const method = "/tollgate.config.v1.TenantService/GetTenant"
	for name, want := range map[string]struct {
		n      int64
		tenant string
		why    string
	}{
		"12:00 127.0.0.1 " + method:                                                                {1, "", reason.APIKeyMissing},
		"12:00 " + caller("tg_unknown") + " " + method:                                             {2, "", reason.APIKeyUnknown},
		"12:00 " + caller("expired") + " " + method:                                                {1, "a", reason.APIKeyExpired},
		"12:00 " + caller("one") + " " + method:                                                    {1, "a", reason.ScopeRequired},
		"12:00 " + caller("tg_unknown") + " " + otherMethods:                                       {1, "", reason.APIKeyUnknown},
		"12:00 " + caller("one") + " /tollgate.options.v1.OptionInventoryService/GetDataSafeguard": {1, "a", reason.TenantDenied},
	} {
		one := got[name]
		if one == nil || one.Count != want.n || one.Tenant != want.tenant || one.Reasons[want.why] != want.n || one.Address != "127.0.0.1" {
			t.Errorf("%s: %+v, want %+v", name, one, want)
		}
		delete(got, name)
	}
	if len(got) != 0 {
		t.Errorf("also counted: %v", got)
	}
	if n := testutil.ToFloat64(r.server.authorizer.refusals.total.WithLabelValues(reason.ScopeRequired, "CONFIG_READ")); n != 1 {
		t.Errorf("%v calls lack the scope CONFIG_READ", n)
	}
}
