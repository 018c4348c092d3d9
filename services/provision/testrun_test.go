package provision

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// test repeats a call while the service has no configuration yet.
func (f *fixture) test(r *running, req *provisionv1.TestRunRequest) (*provisionv1.TestRunResponse, error) {
	for {
		ctx, cancel := context.WithTimeout(f.Ctx, time.Minute)
		res, err := r.TestRun(ctx, req)
		cancel()
		if err == nil || fault.ReasonOf(fault.FromGRPC(err)) != reason.ConfigNotRead || f.Ctx.Err() != nil {
			return res, err
		}
	}
}

func TestTestRun_ShowsWhatWasSentReceivedAndChangedWithoutEffect(t *testing.T) {
	onServers(t, func(f *fixture) {
		asked, h := f.http("day", edit(func(c map[string]any) { c["billDay"] = 5 }))
		h.Status = configv1.HookStatus_HOOK_STATUS_DISABLED
		f.save()
		r := f.start()
		res, err := f.test(r, &provisionv1.TestRunRequest{Name: h.GetName()})
		if err != nil {
			t.Fatal(err)
		}
		c := &eventv1.ClientChanged{}
		if err := res.GetData().UnmarshalTo(c); err != nil {
			t.Fatal(err)
		}
		result := res.GetResult()
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || c.GetClient().GetBillDay() != 5 || res.GetType() != "client.created" ||
			result.GetOutcome() != provisionv1.Outcome_OUTCOME_CHANGED || result.GetStatus() != 200 || result.GetTook().AsDuration() <= 0 ||
			len(result.GetChanges()) != 1 || result.GetChanges()[0].GetPath() != "client.bill_day" {
			t.Errorf("got %v", res)
		}
		var q struct{ Event map[string]any }
		if err := json.Unmarshal(res.GetSent(), &q); err != nil || q.Event["stage"] != "test" || q.Event["object_id"] != 1.0 {
			t.Errorf("sent is %s, %v", res.GetSent(), err)
		}
		if string(asked.bodies[0]) != string(res.GetSent()) || !strings.Contains(string(res.GetReceived()), `"billDay":5`) {
			t.Errorf("sent is %s, received %s", res.GetSent(), res.GetReceived())
		}
		// In the log it is a test; nothing is published, and an action under any key asks anew.
		if x := f.executions(1)[0]; x.GetStage() != provisionv1.Execution_STAGE_TEST || !x.GetDryRun() || x.GetCaller() == "" || x.GetObjectId() != "1" {
			t.Errorf("the log has %v", x)
		}
		if n := len(f.events(0)); n != 0 {
			t.Errorf("%d events are published", n)
		}
		if got := f.decided(r, nord("k")); got.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_NO_HANDLER {
			t.Errorf("a disabled handler is asked: %v", got)
		}
	})
}

func TestTestRun_FaultsStandInTheAnswerAndOpenNoCircuit(t *testing.T) {
	onServers(t, func(f *fixture) {
		answer := answering(http.StatusInternalServerError, "oops")
		handler, h := f.http("check", func(w http.ResponseWriter, body []byte) { answer(w, body) })
		h.FailurePolicy = configv1.FailurePolicy_FAILURE_POLICY_FORBID
		f.save()
		r := f.start()
		for range 8 {
			res, err := f.test(r, &provisionv1.TestRunRequest{Name: h.GetName(), ObjectId: "7401", Data: nord("k").GetData()})
			if err != nil {
				t.Fatal(err)
			}
			if res.GetResult().GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT || res.GetDecision() != provisionv1.Decision_DECISION_FORBID ||
				!strings.Contains(res.GetReason(), "the status is 500") || string(res.GetReceived()) != "oops" || !strings.Contains(string(res.GetSent()), "Nord") {
				t.Fatalf("got %v", res)
			}
		}
		answer = echo
		if res := f.decided(r, nord("k")); res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || handler.asked() != 9 {
			t.Errorf("got %v, asked %d times", res, handler.asked())
		}
	})
}

func TestTestRun_BadRequestsListEveryViolation(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, h := f.http("check", echo)
		f.save()
		r := f.start()
		_, err := f.test(r, &provisionv1.TestRunRequest{Name: "tenants/acme/hooks/nobody"})
		wantFault(t, err, fault.NotFound, "HOOK_NOT_FOUND")
		_, err = f.test(r, &provisionv1.TestRunRequest{Name: h.GetName(), Type: "account.created"})
		wantFault(t, err, fault.Invalid, "REQUEST_INVALID", "type")
		large, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{DisplayName: strings.Repeat("x", 300<<10)}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.test(r, &provisionv1.TestRunRequest{Name: h.GetName(), ObjectId: strings.Repeat("x", 129), Data: large})
		wantFault(t, err, fault.Invalid, "REQUEST_INVALID", "object_id", "data")
	})
}

func TestTestRun_OfEveryTypeWithItsExample(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, h := f.http("check", echo)
		h.EventTypes, h.Timeout = nil, durationpb.New(5*time.Second)
		for _, typ := range event.Types() {
			if !typ.Reserved {
				h.EventTypes = append(h.EventTypes, typ.Name)
			}
		}
		f.save()
		r := f.start()
		for _, name := range h.GetEventTypes() {
			res, err := f.test(r, &provisionv1.TestRunRequest{Name: h.GetName(), Type: name})
			if err != nil || res.GetResult().GetOutcome() != provisionv1.Outcome_OUTCOME_ALLOWED || res.GetType() != name {
				t.Errorf("%s: %v, %v", name, res, err)
			}
		}
	})
}
