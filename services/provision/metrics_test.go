package provision

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// measured is the value of a metric with a label, of a histogram how many values it has; there is whether it exists.
func measured(t testing.TB, of prometheus.Gatherer, name, label string) (value float64, there bool) {
	t.Helper()
	families, err := of.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "tollgate_provision_"+name {
			continue
		}
		for _, m := range family.GetMetric() {
			if label != "" && (len(m.GetLabel()) != 1 || m.GetLabel()[0].GetValue() != label) {
				continue
			}
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

func TestMetrics_DecisionsByResultAndOpenCircuits(t *testing.T) {
	onServers(t, func(f *fixture) {
		answer := echo
		_, hook := f.http("check", func(w http.ResponseWriter, body []byte) { answer(w, body) })
		f.save()
		r := f.start()
		want := func(results map[string]float64, circuits float64) {
			f.Helper()
			for result, n := range results {
				if got, _ := measured(f, r.env.Metrics, "decisions_total", result); got != n {
					f.Errorf("%s: %v, want %v", result, got, n)
				}
			}
			if got, there := measured(f, r.env.Metrics, "circuits_open", ""); !there || got != circuits {
				f.Errorf("%v circuits are open, want %v", got, circuits)
			}
		}
		f.decided(r, nord("k1"))
		f.decided(r, nord("k1")) // repeated
		want(map[string]float64{resultAllow: 1, resultForbid: 0, resultPolicy: 0, resultFailed: 0}, 0)
		answer = answering(http.StatusForbidden, `{"reason":"no"}`)
		f.decided(r, nord("k2"))
		dry := nord("k3")
		dry.DryRun = true
		f.decided(r, dry)
		want(map[string]float64{resultAllow: 1, resultForbid: 2, resultPolicy: 0, resultFailed: 0}, 0)
		reused := nord("k1")
		reused.ObjectId = "7402"
		if _, err := f.decide(r, reused); err == nil {
			f.Error("a key is used twice")
		}
		want(map[string]float64{resultAllow: 1, resultForbid: 2, resultPolicy: 0, resultFailed: 1}, 0)
		answer = answering(http.StatusInternalServerError, "")
		for _, key := range []string{"k4", "k5", "k6", "k7"} {
			f.decided(r, nord(key))
		}
		want(map[string]float64{resultPolicy: 4}, 0)
		f.decided(r, nord("k8"))
		want(map[string]float64{resultAllow: 1, resultForbid: 2, resultPolicy: 5, resultFailed: 1}, 1)
		if got, _ := measured(f, r.env.Metrics, "repeated_total", ""); got != 1 {
			f.Errorf("%v are repeated", got)
		}
		if got, _ := measured(f, r.env.Metrics, "handler_seconds", hook.GetName()); got != 8 {
			f.Errorf("%v questions are timed, want 8", got)
		}
	})
}

// Nothing is asked after the change: the circuit of before is closed by it alone.
func TestMetrics_CircuitOfAHandlerThatChangedIsOpenNoMore(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, hook := f.http("check", answering(http.StatusInternalServerError, ""))
		_, other := f.http("other", echo)
		other.EventTypes = []string{"client.deleted"}
		f.save()
		r := f.start()
		for i := range 5 {
			f.decided(r, nord(fmt.Sprint("k", i)))
		}
		circuits := func() float64 {
			n, _ := measured(f, r.env.Metrics, "circuits_open", "")
			return n
		}
		if n := circuits(); n != 1 {
			f.Fatalf("%v circuits are open", n)
		}
		hook.Handler = other.GetHandler()
		f.save()
		ctx, cancel := context.WithTimeout(f.Ctx, time.Minute)
		defer cancel()
		for circuits() > 0 {
			if !pause.For(ctx, 10*time.Millisecond) {
				f.Fatal("the circuit is open still")
			}
		}
		if res := f.decided(r, nord("after")); res.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
			f.Errorf("after the change %v", res)
		}
	})
}

func TestMetrics_TimeByHandlerIsGoneWithItsHook(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, held, release := f.holding("held", echo)
		held.Timeout, held.EventTypes = durationpb.New(10*time.Second), []string{"client.updated"}
		_, one := f.http("one", echo)
		_, two := f.http("two", echo)
		_, never := f.http("never", echo)
		never.EventTypes = []string{"client.deleted"}
		f.save()
		r := f.start()
		f.decided(r, nord("k1"))
		two.Status = configv1.HookStatus_HOOK_STATUS_DISABLED
		f.save()
		f.decided(r, nord("k2"))
		for name, n := range map[string]float64{one.GetName(): 2, two.GetName(): 1} {
			got, there := measured(f, r.env.Metrics, "handler_seconds", name)
			// The second of them may be asked until the revision is in force.
			if !there || got < n || got > 2 {
				f.Errorf("%s: %v, want %v", name, got, n)
			}
		}
		for _, name := range []string{held.GetName(), never.GetName()} {
			if _, there := measured(f, r.env.Metrics, "handler_seconds", name); there {
				f.Errorf("%s is there, and was never asked", name)
			}
		}
		var call sync.WaitGroup
		var res *provisionv1.DecideResponse
		call.Go(func() {
			req := nord("k3")
			req.Type = "client.updated"
			res, _ = f.decide(r, req)
		})
		f.asked(h, 1)
		f.hooks = []*configv1.Hook{two} // one and held are gone, the latter while it is asked
		f.save()
		for gone := false; !gone; {
			_, there := measured(f, r.env.Metrics, "handler_seconds", one.GetName())
			if gone = !there; !gone && !pause.For(f.Ctx, time.Millisecond) {
				f.Fatal("the time of a hook that is gone stays")
			}
		}
		release()
		call.Wait()
		if got := res.GetHandlers(); len(got) != 1 || got[0].GetOutcome() != provisionv1.Outcome_OUTCOME_ALLOWED {
			f.Errorf("got %v", res)
		}
		if _, there := measured(f, r.env.Metrics, "handler_seconds", held.GetName()); there {
			f.Error("a question that ended after its hook was gone has a time")
		}
		if _, there := measured(f, r.env.Metrics, "handler_seconds", two.GetName()); !there {
			f.Error("the time of a hook that stays is gone")
		}
	})
}
