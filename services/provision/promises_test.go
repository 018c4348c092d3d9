package provision

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// happened are the types that no action becomes: they are of what has happened. Hooks of these are asked afterwards.
var happened = []string{
	"account.contract.under_commit", "balance.adjusted", "balance.changed", "balance.first_use", "balance.recurrence", "balance.threshold_reached",
	"client.balance.depleted", "client.balance.restored", "usage.charged", "usage.threshold_exceeded",
}

// Each type of the catalog that changes something is asked about beforehand, or named above.
func TestAskable_EveryTypeThatChangesSomething(t *testing.T) {
	var not []string
	for _, typ := range event.Types() {
		never := typ.Reserved || typ.Operation == event.Other && !slices.Contains(happened, typ.Name)
		switch {
		case never && askable(&typ):
			t.Errorf("%s is asked about beforehand: it changes nothing, or Tollgate alone publishes it", typ.Name)
		case never, askable(&typ):
		default:
			not = append(not, typ.Name)
		}
	}
	if slices.Sort(not); !slices.Equal(not, happened) {
		t.Errorf("not asked about beforehand are %q\nwant %q", not, happened)
	}
	for _, name := range strings.Fields(`client.created client.updated client.deleted client.archived client.custom_fields_updated
		account.created account.updated account.deleted package.assigned package.activated package.deactivated package.renewed package.closed
		subscriber.activated subscriber.terminated service.state_changed`) {
		if typ, known := event.Lookup(name); !known || !askable(&typ) {
			t.Errorf("%s can't be asked about beforehand", name)
		}
	}
}

// Each answer that is no decision ends in the policy's, with an entry that names what was wrong; one is never an allow or a forbid of
// the handler.
func TestDecide_EachBadAnswerEndsByThePolicyWithAPreciseEntry(t *testing.T) {
	answers := map[string]struct {
		status int
		body   string
		text   string
	}{
		"no-json":        {200, "<html>welcome</html>", "JSON"},
		"half":           {200, `{"data":{"client"`, "JSON"},
		"allowed-false":  {200, `{"allowed":false}`, "neither empty"},
		"error":          {200, `{"error":"no"}`, "neither empty"},
		"wrong-decision": {200, `{"decision":"perhaps"}`, "perhaps"},
		"forbidden":      {200, `{"data":{"client":{"displayName":"X"}}}`, "client.display_name"},
		"no-field":       {200, `{"data":{"client":{"vip":true}}}`, "vip"},
		"schema":         {200, `{"data":{"client":{"billDay":31}}}`, "client.bill_day"},
		"null":           {200, `{"data":null}`, "null"},
		"server":         {500, `{"decision":"allow"}`, "500"},
		"no-reason":      {403, `{"error":"no"}`, "refusal"},
	}
	for name, policy := range map[string]configv1.FailurePolicy{"allow": configv1.FailurePolicy_FAILURE_POLICY_ALLOW, "forbid": configv1.FailurePolicy_FAILURE_POLICY_FORBID} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				for id, a := range answers {
					_, h := f.http(id, answering(a.status, a.body))
					h.FailurePolicy, h.MayChange = policy, []string{"client.bill_day"}
				}
				f.save()
				r := f.start()
				for id, a := range answers {
					res, err := f.test(r, &provisionv1.TestRunRequest{Name: "tenants/acme/hooks/" + id, ObjectId: "7401", Data: nord("k").GetData()})
					if err != nil {
						t.Fatal(err)
					}
					x := res.GetResult()
					want := map[string]provisionv1.Decision{"allow": provisionv1.Decision_DECISION_ALLOW, "forbid": provisionv1.Decision_DECISION_FORBID}[name]
					if x.GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT || !x.GetByFailurePolicy() || res.GetDecision() != want || !strings.Contains(x.GetText(), a.text) {
						t.Errorf("%s: %s %q, decision %s", id, x.GetOutcome(), x.GetText(), res.GetDecision())
					}
				}
				res := f.decided(r, nord("all"))
				asked := len(answers)
				if policy == configv1.FailurePolicy_FAILURE_POLICY_FORBID {
					asked = 1
				}
				if allowed := policy == configv1.FailurePolicy_FAILURE_POLICY_ALLOW; (res.GetDecision() == provisionv1.Decision_DECISION_ALLOW) != allowed || len(res.GetHandlers()) != asked {
					t.Errorf("got %v", res)
				}
				if allowed := policy == configv1.FailurePolicy_FAILURE_POLICY_ALLOW; allowed && clientOf(t, res).GetBillDay() != 3 {
					t.Error("what a faulty handler answers changes the data")
				}
				f.executions(len(answers) + asked)
			})
		})
	}
}

// That this takes no longer than is promised pkg/configclient shows (TestSource_FollowsNewRevisions): what it announces, each replica
// takes over without a wait.
func TestHook_AChangeIsInForceWhileReplicasRun(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, first := f.http("first", echo)
		_, second := f.http("second", answering(http.StatusForbidden, `{"reason":"no"}`))
		second.Status = configv1.HookStatus_HOOK_STATUS_DISABLED
		f.save()
		r := f.start()
		ask := func() string {
			req := nord("k")
			req.DryRun = true
			return strings.Join(outcomesOf(f.decided(r, req)), ", ")
		}
		if got := ask(); got != "first OUTCOME_ALLOWED" {
			t.Fatalf("got %s", got)
		}
		for _, step := range []struct {
			change func()
			want   string
		}{
			{func() { second.Status = configv1.HookStatus_HOOK_STATUS_ENABLED }, "first OUTCOME_ALLOWED, second OUTCOME_FORBADE"},
			{func() { first.Priority = 100 }, "second OUTCOME_FORBADE"},
			{func() { second.GetHttp().Url += "/moved"; second.EventTypes = []string{"client.updated"} }, "first OUTCOME_ALLOWED"},
			{func() {
				first.Timeout, first.Status = durationpb.New(time.Second), configv1.HookStatus_HOOK_STATUS_ARCHIVED
			}, ""},
		} {
			step.change()
			f.save()
			for got := ask(); got != step.want; got = ask() {
				if !pause.For(f.Ctx, time.Millisecond) {
					t.Fatalf("%q is not in force, got %q", step.want, got)
				}
			}
		}
	})
}
