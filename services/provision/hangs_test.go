package provision

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// While all questions that a handler takes hang, its own further ones end by its policy before their deadline, and no other handler
// and no other tenant waits.
func TestDecide_AHandlerThatHangsTakesNothingOfOthers(t *testing.T) {
	onServers(t, func(f *fixture) {
		hanging, hook, release := f.holding("hangs", echo)
		hook.Concurrency, hook.Timeout, hook.FailurePolicy = 2, durationpb.New(10*time.Second), configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		_, updates := f.http("updates", echo)
		updates.EventTypes = []string{"client.updated"}
		_, theirs := f.http("theirs", echo)
		theirs.Name = "tenants/beta/hooks/theirs"
		f.others = []string{"beta"}
		f.save()
		r := f.start()
		// On a slow machine the calls that hang may end by their deadline before the others were made: then all is tried again.
		for tried := 1; ; tried++ {
			held := make(chan *provisionv1.DecideResponse, 2)
			for i := range cap(held) {
				go func() {
					res, err := f.decide(r, asking("acme", "client.created", fmt.Sprint("held-", tried, "-", i)))
					if err != nil {
						t.Error(err)
					}
					held <- res
				}()
			}
			f.asked(hanging, 2*tried)
			// A further question waits for a place, and ends by the policy.
			waited, failed := make(chan *provisionv1.DecideResponse, 1), error(nil)
			go func() {
				// The answer comes half a second before: pkg chain has it to the moment.
				within, cancel := context.WithTimeout(f.Ctx, 8*time.Second)
				defer cancel()
				var res *provisionv1.DecideResponse
				res, failed = r.Decide(within, asking("acme", "client.created", "own"))
				waited <- res
			}()
			another := f.decided(r, asking("acme", "client.updated", "another"))
			their := f.decided(r, asking("beta", "client.created", "their"))
			own := <-waited
			if len(held) > 0 && f.Ctx.Err() == nil {
				for range cap(held) {
					<-held
				}
				continue
			}
			if failed != nil {
				t.Error(failed)
			}
			if h := own.GetHandlers(); own.GetDecision() != provisionv1.Decision_DECISION_ALLOW || len(h) != 1 || h[0].GetOutcome() != provisionv1.Outcome_OUTCOME_BUSY || !h[0].GetByFailurePolicy() {
				t.Errorf("a further question: %v", own)
			}
			for name, res := range map[string]*provisionv1.DecideResponse{"another handler": another, "another tenant": their} {
				if h := res.GetHandlers(); len(h) != 1 || h[0].GetOutcome() != provisionv1.Outcome_OUTCOME_ALLOWED {
					t.Errorf("%s: %v", name, h)
				}
			}
			if n := hanging.asked(); n != 2*tried {
				t.Errorf("the handler was asked %d times in %d tries", n, tried)
			}
			release()
			for range cap(held) {
				<-held
			}
			return
		}
	})
}

// asking is a call that has no effect.
func asking(tenant, kind, key string) *provisionv1.DecideRequest {
	req := nord(key)
	req.Tenant, req.Type, req.DryRun = tenant, kind, true
	return req
}

// A circuit that is open answers by the policy without asking; the answer and the log name it.
func TestDecide_AnOpenCircuitAnswersByThePolicyAndIsNamed(t *testing.T) {
	for name, policy := range map[string]configv1.FailurePolicy{"allow": configv1.FailurePolicy_FAILURE_POLICY_ALLOW, "forbid": configv1.FailurePolicy_FAILURE_POLICY_FORBID} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				h, hook := f.http("broken", answering(http.StatusServiceUnavailable, "down"))
				hook.FailurePolicy = policy
				f.save()
				r := f.start()
				want := provisionv1.Decision_DECISION_FORBID
				if policy == configv1.FailurePolicy_FAILURE_POLICY_ALLOW {
					want = provisionv1.Decision_DECISION_ALLOW
				}
				n := 0
				for ; ; n++ {
					res := f.decided(r, nord(fmt.Sprint("k", n)))
					one := res.GetHandlers()[0]
					if res.GetDecision() != want || !one.GetByFailurePolicy() {
						t.Fatalf("call %d: %v", n, res)
					}
					if one.GetOutcome() == provisionv1.Outcome_OUTCOME_CIRCUIT_OPEN {
						if h.asked() != n || !strings.Contains(one.GetText(), "failed too often in a row") || policy == configv1.FailurePolicy_FAILURE_POLICY_FORBID && !strings.Contains(res.GetReason(), "failed too often in a row") {
							t.Errorf("asked %d times in %d calls: %v", h.asked(), n, res)
						}
						break
					}
					if n > 100 {
						t.Fatal("no circuit opens")
					}
				}
				entries := 0
				for _, x := range f.executions(n + 1) {
					if x.GetResult().GetOutcome() == provisionv1.Outcome_OUTCOME_CIRCUIT_OPEN && strings.Contains(x.GetResult().GetText(), "failed too often in a row") {
						entries++
					}
				}
				if entries != 1 {
					t.Errorf("%d entries of the log name the circuit", entries)
				}
			})
		})
	}
}
