package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func aHook(id string) *configv1.Hook {
	return &configv1.Hook{
		Name: "tenants/acme/hooks/" + id, EventTypes: []string{"client.created", "client.updated"}, Priority: 10,
		FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID, MayChange: []string{"client.billDay"},
		Handler: &configv1.Hook_Http{Http: &configv1.HttpHandler{
			Url:  "https://hooks.example.com/check",
			Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: "t0ken-of-acme"}}},
		}},
	}
}

func TestHook_ItsSecretsAreMaskedAndStayWithItsReceiver(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	made := must[*configv1.Hook](t)(r.hooks.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: aHook("check")}))
	if got := made.GetHttp().GetAuth().GetBearer().GetToken(); got != "****" {
		t.Errorf("the token is shown as %q", got)
	}
	made.Priority = 20
	changed := must[*configv1.Hook](t)(r.hooks.UpdateHook(t.Context(), &configv1.UpdateHookRequest{Hook: made}))
	if changed.GetPriority() != 20 {
		t.Errorf("got %v", changed)
	}
	if s := r.snapshot(0); len(s.GetHooks()) != 1 || s.GetHooks()[0].GetHttp().GetAuth().GetBearer().GetToken() != "t0ken-of-acme" {
		t.Errorf("a service reads %v", s.GetHooks())
	}
	changed.GetHttp().Url = "https://elsewhere.example.com/"
	_, err := r.hooks.UpdateHook(t.Context(), &configv1.UpdateHookRequest{Hook: changed})
	refused(t, err, fault.Invalid, "SECRET_REQUIRED")
	_, err = r.tenants.DeleteTenant(t.Context(), &configv1.DeleteTenantRequest{Name: "tenants/acme"})
	refused(t, err, fault.Conflict, "TENANT_IN_USE")
	must[*configv1.Hook](t)(r.hooks.DeleteHook(t.Context(), &configv1.DeleteHookRequest{Name: "tenants/acme/hooks/check"}))
}

func TestHook_EveryFaultIsListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	for _, row := range []struct {
		name   string
		change func(*configv1.Hook)
		fields []string
	}{
		{"all that can be", func(h *configv1.Hook) {
			h.EventTypes = []string{"client.created", "client.created", "no.type", "safeguard.reached"}
			h.FailurePolicy, h.Timeout, h.Concurrency, h.Status = 0, durationpb.New(time.Millisecond), 1000, 9
			h.MayChange = []string{"client.vip"}
			h.GetHttp().Url, h.GetHttp().Method = "http://10.0.0.1/", 7
		}, []string{
			"hook.may_change", "hook.event_types[1]", "hook.event_types[2]", "hook.event_types[3]",
			"hook.status", "hook.failure_policy", "hook.timeout", "hook.concurrency", "hook.http.method", "hook.http.url", "hook.http.url",
		}},
		{"no handler", func(h *configv1.Hook) { h.Handler = nil }, []string{"hook.handler"}},
		{"no types", func(h *configv1.Hook) { h.EventTypes = nil }, []string{"hook.event_types"}},
		{"a secret that is none", func(h *configv1.Hook) { h.GetHttp().Secrets = []string{"x"} }, []string{"hook.http.secrets[0]"}},
		{"a script that is none", func(h *configv1.Hook) {
			h.Handler = &configv1.Hook_Script{Script: &configv1.ScriptHandler{Path: "../x", Sha256: strings.Repeat("z", 64), Arguments: []string{"\x00"}}}
		}, []string{"hook.script.path", "hook.script.sha256", "hook.script.arguments[0]"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := aHook("check")
			row.change(h)
			_, err := r.hooks.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: h})
			refused(t, err, fault.Invalid, "CONFIG_INVALID")
			if diff := cmp.Diff(row.fields, fields(err)); diff != "" {
				t.Errorf("%s\n%v", diff, err)
			}
		})
	}
}

// Whoever writes a tenant's configuration does not thereby run programs on the operator's machines.
func TestHook_ScriptsAreRegisteredByTheOperatorAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	key := must[*configv1.ApiKey](t)(r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: &configv1.ApiKey{
		Name: "tenants/acme/apiKeys/admin", Scopes: []configv1.ApiKeyScope{configv1.ApiKeyScope_API_KEY_SCOPE_CONFIG_WRITE},
	}}))
	conn, err := rpc.Dial(r.address, key.GetSecret())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tenants := configv1.NewHookServiceClient(conn)
	script := aHook("check")
	script.Handler = &configv1.Hook_Script{Script: &configv1.ScriptHandler{Path: "/opt/check", Sha256: strings.Repeat("0", 64)}}
	// Until the key is known: it is made known by the revision that has it.
	_, err = tenants.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: aHook("plain")})
	for fault.KindOf(err) == fault.Unauthenticated || fault.KindOf(err) == fault.Unavailable {
		_, err = tenants.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: aHook("plain")})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = tenants.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: script})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if diff := cmp.Diff([]string{"hook.script"}, fields(err)); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	must[*configv1.Hook](t)(r.hooks.CreateHook(t.Context(), &configv1.CreateHookRequest{Hook: script}))
	_, err = tenants.UpdateHook(t.Context(), &configv1.UpdateHookRequest{Hook: &configv1.Hook{Name: script.GetName(), Priority: 3}, UpdateMask: mask("priority")})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
}

func TestHook_OnATypeThatItsTenantDeclares(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.tenant("other")
	ctx := t.Context()
	declared := anEventType()
	_, name := channel.SplitName(declared.GetName(), "eventTypes")
	h := aHook("orders")
	h.EventTypes, h.MayChange = []string{"client.created", name}, nil
	_, err := r.hooks.CreateHook(ctx, &configv1.CreateHookRequest{Hook: h})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if diff := cmp.Diff([]string{"hook.event_types[1]"}, fields(err)); diff != "" || !strings.Contains(err.Error(), name) {
		t.Errorf("%s\n%v", diff, err)
	}
	must[*configv1.EventType](t)(r.types.CreateEventType(ctx, &configv1.CreateEventTypeRequest{EventType: declared}))
	h.EventTypes, h.MayChange = []string{name}, []string{declared.GetFields()[0].GetName(), "no_such"}
	_, err = r.hooks.CreateHook(ctx, &configv1.CreateHookRequest{Hook: h})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if diff := cmp.Diff([]string{"hook.may_change"}, fields(err)); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	h.MayChange = h.MayChange[:1]
	must[*configv1.Hook](t)(r.hooks.CreateHook(ctx, &configv1.CreateHookRequest{Hook: h}))
	foreign := aHook("orders")
	foreign.Name, foreign.EventTypes, foreign.MayChange = "tenants/other/hooks/orders", []string{name}, nil
	_, err = r.hooks.CreateHook(ctx, &configv1.CreateHookRequest{Hook: foreign})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")

	remove := func() error {
		_, err := r.types.DeleteEventType(ctx, &configv1.DeleteEventTypeRequest{Name: declared.GetName()})
		return err
	}
	err = remove()
	refused(t, err, fault.Conflict, "EVENT_TYPE_IN_USE")
	if err == nil || !strings.Contains(err.Error(), h.GetName()) {
		t.Errorf("the hook is not listed: %v", err)
	}
	without := must[*configv1.EventType](t)(r.types.GetEventType(ctx, &configv1.GetEventTypeRequest{Name: declared.GetName()}))
	without.Fields = without.GetFields()[1:]
	_, err = r.types.UpdateEventType(ctx, &configv1.UpdateEventTypeRequest{EventType: without})
	refused(t, err, fault.Invalid, "HOOK_BROKEN")
	if err == nil || !strings.Contains(err.Error(), h.GetName()) {
		t.Errorf("the hook is not listed: %v", err)
	}
	must[*configv1.Hook](t)(r.hooks.DeleteHook(ctx, &configv1.DeleteHookRequest{Name: h.GetName()}))
	if err := remove(); err != nil {
		t.Errorf("without the hook: %v", err)
	}
}
