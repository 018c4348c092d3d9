package config

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/port"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// hook makes one with a priority.
func (r *running) hook(id string, priority int32, change ...func(*configv1.Hook)) {
	r.t.Helper()
	h := aHook(id)
	h.Priority = priority
	for _, c := range change {
		c(h)
	}
	must[*configv1.Hook](r.t)(r.hooks.CreateHook(r.t.Context(), &configv1.CreateHookRequest{Hook: h}))
}

func hookNames(ids string) (all []string) {
	for _, id := range strings.Fields(ids) {
		all = append(all, "tenants/acme/hooks/"+id)
	}
	return all
}

// inOrder is hooks as "id priority".
func inOrder(all []*configv1.Hook) string {
	var out []string
	for _, h := range all {
		out = append(out, fmt.Sprintf("%s %d", strings.TrimPrefix(h.GetName(), "tenants/acme/hooks/"), h.GetPriority()))
	}
	return strings.Join(out, ", ")
}

func (r *running) reorder(ids string, change ...func(*configv1.ReorderRequest)) (*configv1.ReorderResponse, error) {
	req := &configv1.ReorderRequest{Parent: "tenants/acme", Hooks: hookNames(ids)}
	for _, c := range change {
		c(req)
	}
	return r.hooks.Reorder(r.t.Context(), req)
}

func TestReorder_IsOneRevisionAndOneChange(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.hook("a", 10)
	r.hook("b", 20)
	r.hook("c", 20)
	r.hook("off", 5, func(h *configv1.Hook) { h.Status = configv1.HookStatus_HOOK_STATUS_DISABLED })
	r.hook("old", 1, func(h *configv1.Hook) { h.Status = configv1.HookStatus_HOOK_STATUS_ARCHIVED })
	before := r.snapshot(0)
	got := must[*configv1.ReorderResponse](t)(r.reorder("c b off a"))
	if want := "c 5, b 10, off 20, a 21"; inOrder(got.GetHooks()) != want {
		t.Errorf("got %s, want %s", inOrder(got.GetHooks()), want)
	}
	if token := got.GetHooks()[0].GetHttp().GetAuth().GetBearer().GetToken(); token != "****" {
		t.Errorf("a token is shown as %q", token)
	}
	after := r.snapshot(0)
	if after.GetRevision() != before.GetRevision()+1 || after.GetApplyRevision() != before.GetApplyRevision() {
		t.Errorf("revision %d to %d, applied %d to %d", before.GetRevision(), after.GetRevision(), before.GetApplyRevision(), after.GetApplyRevision())
	}
	for _, h := range after.GetHooks() {
		if h.GetHttp().GetAuth().GetBearer().GetToken() != "t0ken-of-acme" {
			t.Errorf("a service reads %v", h)
		}
		if moved := h.GetName() != "tenants/acme/hooks/old"; moved != (h.GetMetadata().GetRevision() == after.GetRevision()) {
			t.Errorf("%s is of revision %d", h.GetName(), h.GetMetadata().GetRevision())
		}
	}
	// The revision before it is whole, and so is each hook's history.
	if at := r.snapshot(before.GetRevision()); len(at.GetHooks()) != 5 || at.GetHooks()[0].GetPriority() != 10 {
		t.Errorf("the revision before has %v", at.GetHooks())
	}
	for _, name := range []string{"", "tenants/acme/hooks/a", "tenants/acme/hooks"} {
		changes := r.list(&configv1.ListChangesRequest{Parent: "tenants/acme", Name: name, Kind: "Hook", PageSize: 1})
		want := "reorder tenants/acme/hooks; a.priority 10 → 21; b.priority 20 → 10; c.priority 20 → 5; off.priority 5 → 20"
		if got := strings.Join(lines(changes), "\n"); got != want {
			t.Errorf("changes of %q: %s\nwant %s", name, got, want)
		}
	}
	// The order that stands takes no revision, and each hook can be changed by what Reorder answered.
	must[*configv1.ReorderResponse](t)(r.reorder("c b off a"))
	if n := r.snapshot(0).GetRevision(); n != after.GetRevision() {
		t.Errorf("the same order makes revision %d", n)
	}
	got.GetHooks()[0].DisplayName = "first"
	must[*configv1.Hook](t)(r.hooks.UpdateHook(t.Context(), &configv1.UpdateHookRequest{Hook: got.GetHooks()[0]}))
	// A replica that begins anew has the same.
	r.restart()
	if got := must[*configv1.ReorderResponse](t)(r.reorder("a off b c")); inOrder(got.GetHooks()) != "a 5, off 10, b 20, c 21" {
		t.Errorf("got %s", inOrder(got.GetHooks()))
	}
}

func TestReorder_OfOneTypeLeavesTheOthers(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	types := func(all ...string) func(*configv1.Hook) { return func(h *configv1.Hook) { h.EventTypes = all } }
	r.hook("a", 10)
	r.hook("b", 20, types("client.created"))
	r.hook("c", 30, types("client.updated"))
	got := must[*configv1.ReorderResponse](t)(r.reorder("b a", func(q *configv1.ReorderRequest) { q.EventType = "client.created" }))
	if want := "b 10, a 20"; inOrder(got.GetHooks()) != want {
		t.Errorf("got %s, want %s", inOrder(got.GetHooks()), want)
	}
	if c := must[*configv1.Hook](t)(r.hooks.GetHook(t.Context(), &configv1.GetHookRequest{Name: "tenants/acme/hooks/c"})); c.GetPriority() != 30 {
		t.Errorf("c has priority %d", c.GetPriority())
	}
}

func TestReorder_EveryFaultIsListedAndNothingChanges(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.hook("a", 1)
	r.hook("b", 2)
	r.hook("c", 3)
	r.hook("old", 4, func(h *configv1.Hook) { h.Status = configv1.HookStatus_HOOK_STATUS_ARCHIVED })
	at := r.snapshot(0).GetRevision()
	_, err := r.reorder("b b old nobody")
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
	if diff := cmp.Diff([]string{"hooks[1]", "hooks[2]", "hooks[3]", "hooks", "hooks"}, fields(err)); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	_, err = r.reorder("", func(q *configv1.ReorderRequest) {
		q.Parent, q.EventType, q.Hooks, q.Expected = "acme", strings.Repeat("x", 200), make([]string, 1001), make([]string, 1001)
	})
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
	if diff := cmp.Diff([]string{"parent", "event_type", "hooks", "expected"}, fields(err)); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	_, err = r.reorder("c b a", func(q *configv1.ReorderRequest) { q.Expected = hookNames("b a c") })
	refused(t, err, fault.Conflict, "ORDER_CHANGED")
	must[*configv1.ReorderResponse](t)(r.reorder("c b a", func(q *configv1.ReorderRequest) { q.Expected, q.ValidateOnly = hookNames("a b c"), true }))
	if n := r.snapshot(0).GetRevision(); n != at {
		t.Errorf("revision %d was made", n)
	}
	// Two that were read at once: the second is refused.
	must[*configv1.ReorderResponse](t)(r.reorder("c b a", func(q *configv1.ReorderRequest) { q.Expected = hookNames("a b c") }))
	_, err = r.reorder("b a c", func(q *configv1.ReorderRequest) { q.Expected = hookNames("a b c") })
	refused(t, err, fault.Conflict, "ORDER_CHANGED")
	r.hook("last", 1<<31-1)
	_, err = r.reorder("last c b a", func(q *configv1.ReorderRequest) {})
	if err != nil {
		t.Error(err)
	}
	r.hook("zlast", 1<<31-1)
	_, err = r.reorder("last c b zlast a")
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
}

// A tenant's key moves its own hooks, and not the operator's scripts.
func TestReorder_ScriptsAreMovedByTheOperatorAlone(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	r.hook("a", 1)
	r.hook("b", 2)
	r.hook("s", 3, func(h *configv1.Hook) {
		h.Handler = &configv1.Hook_Script{Script: &configv1.ScriptHandler{Path: "/opt/check", Sha256: strings.Repeat("0", 64)}}
	})
	key := must[*configv1.ApiKey](t)(r.keys.CreateApiKey(t.Context(), &configv1.CreateApiKeyRequest{ApiKey: &configv1.ApiKey{
		Name: "tenants/acme/apiKeys/admin", Scopes: []configv1.ApiKeyScope{configv1.ApiKeyScope_API_KEY_SCOPE_CONFIG_WRITE},
	}}))
	conn := must[*grpc.ClientConn](t)(rpc.Dial(r.address, key.GetSecret()))
	defer conn.Close()
	r.hooks = configv1.NewHookServiceClient(conn)
	_, err := r.reorder("b s a")
	for fault.KindOf(err) == fault.Unauthenticated || fault.KindOf(err) == fault.Unavailable {
		_, err = r.reorder("b s a")
	}
	refused(t, err, fault.Invalid, "REQUEST_INVALID")
	if diff := cmp.Diff([]string{"hooks[1]"}, fields(err)); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
	if got := must[*configv1.ReorderResponse](t)(r.reorder("b a s")); inOrder(got.GetHooks()) != "b 1, a 2, s 3" {
		t.Errorf("got %s", inOrder(got.GetHooks()))
	}
}

// provisioning answers test runs with what it was called with.
type provisioning struct {
	provisionv1.UnimplementedProvisioningServiceServer
}

func (provisioning) TestRun(ctx context.Context, req *provisionv1.TestRunRequest) (*provisionv1.TestRunResponse, error) {
	in, _ := metadata.FromIncomingContext(ctx)
	return &provisionv1.TestRunResponse{Type: req.GetName(), Reason: strings.Join(in.Get("authorization"), " ")}, nil
}

func TestTestRun_IsPassedOnWithTheCallersKey(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.provision = must[string](t)(port.Free(t.Context(), "127.0.0.1"))
	r.restart()
	r.tenant("acme")
	req := &provisionv1.TestRunRequest{Name: "tenants/acme/hooks/check"}
	_, err := r.hooks.TestRun(t.Context(), req)
	refused(t, err, fault.Unavailable, "PROVISION_UNAVAILABLE")
	listener := must[net.Listener](t)(net.Listen("tcp", r.provision))
	server := grpc.NewServer()
	provisionv1.RegisterProvisioningServiceServer(server, provisioning{})
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	answer, err := r.hooks.TestRun(t.Context(), req)
	for fault.KindOf(err) == fault.Unavailable && pause.For(t.Context(), 5*time.Millisecond) { // it connects again by itself
		answer, err = r.hooks.TestRun(t.Context(), req)
	}
	if err != nil || answer.GetType() != req.GetName() || answer.GetReason() != "Bearer "+testKey {
		t.Errorf("got %v, %v", answer, err)
	}
}
