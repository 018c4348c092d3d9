package provision

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

func TestConfig_ShippedFileHasTheDefaults(t *testing.T) {
	frametest.ShippedFile(t, "provision", DefaultConfig())
}

func TestDecide_HandlersInOrderEachSeesWhatTheOneBeforeLeft(t *testing.T) {
	onServers(t, func(f *fixture) {
		first, _ := f.http("day", edit(func(c map[string]any) { c["billDay"] = 5 }))
		second, hook := f.http("echo", echo)
		secret := "whsec_" + strings.Repeat("A", 43) + "="
		hook.GetHttp().Secrets = []string{secret}
		f.save()
		r := f.start()
		res := f.decided(r, nord("k1"))
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || clientOf(t, res).GetBillDay() != 5 || res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS {
			t.Fatalf("got %v", res)
		}
		if got, want := strings.Join(outcomesOf(res), ", "), "day OUTCOME_CHANGED, echo OUTCOME_ALLOWED"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if c := res.GetHandlers()[0].GetChanges(); len(c) != 1 || c[0].GetPath() != "client.bill_day" || c[0].GetBefore() != "3" || c[0].GetAfter() != "5" {
			t.Errorf("changes are %v", c)
		}
		var q struct {
			Event map[string]any
			Data  struct{ Client map[string]any }
		}
		if err := json.Unmarshal(second.bodies[0], &q); err != nil {
			t.Fatal(err)
		}
		if q.Data.Client["billDay"] != 5.0 || q.Event["stage"] != "before" || q.Event["events_id"] != "clients.create" || q.Event["object_id"] != 7401.0 || q.Event["id"] != res.GetEventId() {
			t.Errorf("the second is asked %s", second.bodies[0])
		}
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(second.bodies[0], second.heads[0]); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if first.heads[0].Get("Webhook-Signature") != "" {
			t.Error("a handler without a secret gets a signature")
		}
		events := f.events(1)
		if len(events) != 1 || events[0].ID != res.GetEventId() || events[0].Source != "tollgate/provision" || events[0].Subject != "client/7401" ||
			events[0].Data.(*eventv1.ClientChanged).GetClient().GetBillDay() != 5 || !events[0].Time.Equal(res.GetTime().AsTime()) {
			t.Errorf("published is %+v", events)
		}
	})
}

func TestDecide_OneKeyOneAnswer(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, _ := f.http("echo", echo)
		f.save()
		r := f.start()
		first := f.decided(r, nord("k1"))
		again := f.decided(f.start(), nord("k1"))
		if !again.GetRepeated() || h.asked() != 1 {
			t.Errorf("repeated %v, asked %d times", again.GetRepeated(), h.asked())
		}
		again.Repeated = false
		if !proto.Equal(first, again) {
			t.Errorf("got %v\nthen %v", first, again)
		}
		other := nord("k1")
		other.ObjectId = "7402"
		_, err := f.decide(r, other)
		wantFault(t, err, fault.AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
		if n := len(f.events(1)); n != 1 {
			t.Errorf("%d events are published", n)
		}
	})
}

func TestDecide_ForbiddenPublishesNothing(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.http("list", answering(http.StatusForbidden, `{"reason":"blacklisted"}`))
		after, _ := f.http("after", echo)
		f.save()
		r := f.start()
		for range 2 {
			res := f.decided(r, nord("k1"))
			if res.GetDecision() != provisionv1.Decision_DECISION_FORBID || res.GetReason() != "blacklisted" || res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_HANDLER ||
				res.GetHandler() != "tenants/acme/hooks/list" || res.GetEventId() != "" {
				t.Errorf("got %v", res)
			}
		}
		if after.asked() != 0 {
			t.Error("a handler behind the forbid is asked")
		}
		f.executions(1)
		if n := len(f.events(0)); n != 0 {
			t.Errorf("%d events are published", n)
		}
	})
}

func TestDecide_FaultsEndByThePolicyAndAreNoWordOfTheHandler(t *testing.T) {
	for name, policy := range map[string]configv1.FailurePolicy{"allow": configv1.FailurePolicy_FAILURE_POLICY_ALLOW, "forbid": configv1.FailurePolicy_FAILURE_POLICY_FORBID} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				_, h := f.http("proxy", answering(http.StatusForbidden, "<html>no</html>"))
				h.FailurePolicy = policy
				f.save()
				res := f.decided(f.start(), nord("k"))
				if policy == configv1.FailurePolicy_FAILURE_POLICY_ALLOW {
					if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || !res.GetHandlers()[0].GetByFailurePolicy() {
						t.Errorf("got %v", res)
					}
				} else if res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_FAILURE_POLICY || !strings.Contains(res.GetReason(), "no refusal") {
					t.Errorf("got %v", res)
				}
				if x := f.executions(1)[0]; x.GetResult().GetStatus() != 403 || string(x.GetReceived()) != "<html>no</html>" {
					t.Errorf("the log has %v", x)
				}
			})
		})
	}
}

// What makes handlers fail otherwise than by an answer.
func TestDecide_HandlersThatMisbehave(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, gone := f.http("gone", echo)
		gone.GetHttp().Url = "http://127.0.0.1:1/" // nobody listens there
		f.ports = append(f.ports, 1)
		hanging, slow, _ := f.holding("hangs", echo)
		slow.Timeout = durationpb.New(2 * time.Second) // it is reached within them on any machine
		huge, _ := f.http("huge", func(w http.ResponseWriter, _ []byte) {
			_, _ = w.Write([]byte(`{"data":{"client":{"name":"`))
			piece := []byte(strings.Repeat("x", 64<<10))
			for range 1600 {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		})
		f.http("schema", edit(func(c map[string]any) { c["billDay"] = 29 }))
		f.http("broken", answering(http.StatusInternalServerError, "oops"))
		f.http("redirect", func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusMovedPermanently)
		})
		for _, h := range f.hooks {
			h.FailurePolicy = configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		}
		f.save()
		res := f.decided(f.start(), nord("k"))
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
			t.Fatalf("got %v", res)
		}
		got := map[string]string{}
		for _, h := range res.GetHandlers() {
			got[h.GetHandler()[len("tenants/acme/hooks/"):]] = h.GetOutcome().String() + " " + h.GetText()
		}
		for name, want := range map[string]string{
			"gone": "OUTCOME_FAULT connect: ", "hangs": "OUTCOME_TIMED_OUT it did not answer within 2s", "huge": "OUTCOME_FAULT the reply is larger than 1048576 bytes",
			"schema": "client.bill_day", "broken": "OUTCOME_FAULT the status is 500", "redirect": "OUTCOME_FAULT the status is 301",
		} {
			if !strings.Contains(got[name], want) {
				t.Errorf("%s: got %q, want %q", name, got[name], want)
			}
		}
		if hanging.asked() != 1 || huge.asked() != 1 {
			t.Errorf("asked %d and %d times", hanging.asked(), huge.asked())
		}
	})
}

// What a handler writes at length is a fault, or cut: an action that is allowed can be published.
func TestDecide_WhatAHandlerWritesIsBounded(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, large := f.http("large", edit(func(c map[string]any) { c["name"] = strings.Repeat("x", 300<<10) }))
		large.FailurePolicy = configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		f.http("long", edit(func(c map[string]any) { c["name"] = strings.Repeat("ü", 50<<10) }))
		f.http("reason", answering(http.StatusOK, `{"decision":"forbid","reason":"`+strings.Repeat("ü", 100<<10)+`"}`))
		f.save()
		res := f.decided(f.start(), nord("k"))
		if got, want := strings.Join(outcomesOf(res), ", "), "large OUTCOME_FAULT, long OUTCOME_CHANGED, reason OUTCOME_FORBADE"; got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		if n := len(res.GetReason()); n == 0 || n > 1100 {
			t.Errorf("the reason has %d bytes", n)
		}
		if n := len(res.GetHandlers()[1].GetChanges()[0].GetAfter()); n == 0 || n > 1024 {
			t.Errorf("a change has %d bytes", n)
		}
	})
}

func TestDecide_DryRunPublishesAndRemembersNothing(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, _ := f.http("day", edit(func(c map[string]any) { c["billDay"] = 5 }))
		f.save()
		r := f.start()
		for range 2 {
			req := nord("k1")
			req.DryRun = true
			if res := f.decided(r, req); clientOf(t, res).GetBillDay() != 5 || res.GetEventId() != "" || res.GetRepeated() {
				t.Errorf("got %v", res)
			}
		}
		if h.asked() != 2 || len(f.events(0)) != 0 {
			t.Errorf("asked %d times, %d events", h.asked(), len(f.events(0)))
		}
		for _, x := range f.executions(2) {
			if !x.GetDryRun() {
				t.Errorf("the log has %v", x)
			}
		}
		if res := f.decided(r, nord("k1")); res.GetRepeated() || res.GetEventId() == "" {
			t.Errorf("got %v", res)
		}
	})
}

// Two calls with one key at once: one asks, both get its answer.
func TestDecide_CallsOfOneKeyWaitForTheFirst(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, hook, release := f.holding("slow", echo)
		hook.Timeout = durationpb.New(10 * time.Second)
		f.save()
		r := f.start()
		answers := make(chan *provisionv1.DecideResponse, 2)
		var all sync.WaitGroup
		call := func() {
			all.Go(func() {
				res, err := f.decide(r, nord("k1"))
				if err != nil {
					t.Error(err)
				}
				answers <- res
			})
		}
		call()
		f.asked(h, 1)
		call()
		release()
		all.Wait()
		a, b := <-answers, <-answers
		if a.GetRepeated() == b.GetRepeated() || a.GetEventId() != b.GetEventId() || h.asked() != 1 {
			t.Errorf("got %v and %v, asked %d times", a, b, h.asked())
		}
	})
}

func TestDecide_BadRequestsListEveryViolation(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.save()
		r := f.start()
		req := nord("")
		req.ObjectId, req.Type, req.Data.Value = strings.Repeat("x", 129), "client.vip", []byte{0xff}
		_, err := f.decide(r, req)
		wantFault(t, err, fault.Invalid, "REQUEST_INVALID", "idempotency_key", "object_id", "type", "data")
		req = nord("k")
		req.Tenant = "nobody"
		_, err = f.decide(r, req)
		wantFault(t, err, fault.Invalid, "UNKNOWN_TENANT", "tenant")
		req = nord("k")
		req.Type = "safeguard.reached"
		_, err = f.decide(r, req)
		wantFault(t, err, fault.Invalid, "", "type")
		req = nord("k")
		req.Data.Value = make([]byte, 300<<10)
		_, err = f.decide(r, req)
		wantFault(t, err, fault.Invalid, "", "data")
	})
}

func TestDecide_ADeadlineTooNearAsksNobody(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, _ := f.http("echo", echo)
		f.save()
		r := f.start()
		f.decided(r, nord("k0"))
		ctx, cancel := context.WithTimeout(f.Ctx, 40*time.Millisecond)
		defer cancel()
		if _, err := r.Decide(ctx, nord("k1")); err == nil || h.asked() != 1 {
			t.Errorf("got %v, asked %d times", err, h.asked())
		}
		if res := f.decided(r, nord("k1")); res.GetRepeated() {
			t.Error("the key was settled")
		}
	})
}

func TestDecide_TheLogHidesPersonalDataUnlessTheTenantKeepsIt(t *testing.T) {
	for name, log := range map[string]configv1.ExecutionLog{
		"by default": configv1.ExecutionLog_EXECUTION_LOG_UNSPECIFIED, "masked": configv1.ExecutionLog_EXECUTION_LOG_MASK, "kept": configv1.ExecutionLog_EXECUTION_LOG_KEEP,
	} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				f.http("name", edit(func(c map[string]any) { c["displayName"] = "Süd"; c["billDay"] = 5 }))
				f.tenant = func(t *configv1.Tenant) { t.ExecutionLog = log }
				f.save()
				f.decided(f.start(), nord("k"))
				x := f.executions(1)[0]
				var changed string
				for _, c := range x.GetResult().GetChanges() {
					changed += c.GetBefore() + c.GetAfter()
				}
				for _, in := range []struct{ text, personal string }{
					{string(x.GetSent()), "Nord"}, {string(x.GetSent()), "nord@example.com"}, {string(x.GetReceived()), "Süd"},
					{string(x.GetReceived()), "nord@example.com"}, {changed, "Nord"}, {changed, "Süd"},
				} {
					if kept := log == configv1.ExecutionLog_EXECUTION_LOG_KEEP; strings.Contains(in.text, in.personal) != kept {
						t.Errorf("%q in %s, want %v", in.personal, in.text, kept)
					}
				}
				if !strings.Contains(string(x.GetReceived()), `"billDay":5`) || x.GetCaller() == "" || x.GetRevision() != 1 || x.GetEventId() == "" || x.GetObjectId() != "7401" {
					t.Errorf("the log has %v", x)
				}
			})
		})
	}
}

// Whoever decided died before it published: the next call with the key does, under the same id.
func TestDecide_WhatWasDecidedAndNotPublishedIsPublishedByTheNextCall(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, _ := f.http("day", edit(func(c map[string]any) { c["billDay"] = 5 }))
		f.save()
		r := f.start()
		first := f.decided(r, nord("k1"))
		store, err := f.store()
		if err != nil {
			t.Fatal(err)
		}
		store.unpublish(f.Ctx, keyName(nord("k1")))
		again := f.decided(r, nord("k1"))
		if !again.GetRepeated() || h.asked() != 1 || again.GetEventId() != first.GetEventId() {
			t.Errorf("got %v", again)
		}
		records := f.records(stream.EventsOrdered, 2)
		if string(records[0].Value) != string(records[1].Value) || string(records[0].Key) != string(records[1].Key) {
			t.Error("the two records differ")
		}
	})
}

func wantFault(t testing.TB, err error, kind fault.Kind, reason string, fields ...string) {
	t.Helper()
	got := fault.FromGRPC(err)
	if fault.KindOf(got) != kind || reason != "" && fault.ReasonOf(got) != reason {
		t.Fatalf("got %v", err)
	}
	for _, field := range fields {
		if !slices.ContainsFunc(fault.ViolationsOf(got), func(v fault.Violation) bool { return strings.HasPrefix(v.Field, field) }) {
			t.Errorf("%s is not among %v", field, fault.ViolationsOf(got))
		}
	}
}
