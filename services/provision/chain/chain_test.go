package chain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/tollgate/tollgate/services/provision/chain"
	"github.com/tollgate/tollgate/services/provision/reply"
)

// handlers are what the chains of a test ask: each adds its name to the data, after its time.
type handlers struct {
	takes   map[string]time.Duration
	fails   map[string]error
	answers map[string]reply.Reply
	asked   []string
}

func (s *handlers) ask(ctx context.Context, h *chain.Handler, data proto.Message) (reply.Reply, chain.Exchange, error) {
	s.asked = append(s.asked, h.Name)
	select {
	case <-time.After(s.takes[h.Name]):
	case <-ctx.Done():
		return reply.Reply{}, chain.Exchange{}, chain.Failure{Err: ctx.Err()}
	}
	if err := s.fails[h.Name]; err != nil {
		return reply.Reply{}, chain.Exchange{}, err
	}
	if r, ok := s.answers[h.Name]; ok {
		return r, chain.Exchange{Status: 200}, nil
	}
	return reply.Reply{Data: data}, chain.Exchange{Status: 200}, nil
}

// four are the handlers of the case from the field: each may take two seconds, and fails to allow.
func four(last chain.Policy) []*chain.Handler {
	var all []*chain.Handler
	for i, name := range []string{"a", "b", "c", "d"} {
		all = append(all, &chain.Handler{Name: name, Priority: int32(i), Policy: chain.Allow, Timeout: 2 * time.Second, Concurrency: 4})
	}
	all[3].Policy = last
	return all
}

// run is one call with a deadline; how long it took is its second result.
func run(t *testing.T, c *chain.Chain, ask chain.Ask, all []*chain.Handler, within time.Duration) (*chain.Answer, time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	began := time.Now()
	end, err := chain.Budget(ctx, began)
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.Run(ctx, ask, all, wrapperspb.String("as sent"), end)
	if err != nil {
		t.Fatal(err)
	}
	return a, time.Since(began)
}

func outcomes(a *chain.Answer) string {
	var all []string
	for _, r := range a.Results {
		all = append(all, r.Handler.Name+" "+r.Outcome.String())
	}
	return strings.Join(all, ", ")
}

var hang = map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Hour, "d": time.Hour}

func TestRun_FourThatHangEndByTheirPoliciesBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ask := &chain.Chain{}, (&handlers{takes: hang}).ask
		a, took := run(t, c, ask, four(chain.Allow), 5*time.Second)
		if a.Forbidden || took != 4500*time.Millisecond {
			t.Errorf("forbidden %v after %s, want allowed after 4.5 s", a.Forbidden, took)
		}
		if got, want := outcomes(a), "a timed_out, b timed_out, c cut_off, d not_asked"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if a.Results[2].Took != 500*time.Millisecond {
			t.Errorf("c was asked for %s", a.Results[2].Took)
		}
	})
}

func TestRun_OneThatCouldNotBeAskedForbidsByItsPolicyAndNamesWhoTookTheTime(t *testing.T) {
	for name, answers := range map[string]time.Duration{"d hangs": time.Hour, "d would answer at once": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				takes := map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Hour, "d": answers}
				a, took := run(t, &chain.Chain{}, (&handlers{takes: takes}).ask, four(chain.Forbid), 5*time.Second)
				if !a.Forbidden || !a.ByPolicy || a.By.Handler.Name != "d" || took != 4500*time.Millisecond {
					t.Errorf("got %+v after %s", a, took)
				}
				if want := "d could not decide, and its failure policy is to forbid: no time of the call was left (a took 2s, b took 2s, c took 500ms)"; a.Reason != want {
					t.Errorf("got %q, want %q", a.Reason, want)
				}
			})
		})
	}
}

func TestRun_CircuitsOpenForThoseThatHangAndNotForThoseThatWereCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &handlers{takes: map[string]time.Duration{"a": time.Hour, "b": time.Hour}}
		c := &chain.Chain{}
		for range 20 {
			run(t, c, s.ask, four(chain.Allow), 5*time.Second)
		}
		if n := c.OpenCircuits(); n != 2 {
			t.Errorf("%d circuits are open, want those of a and b", n)
		}
		s.takes = map[string]time.Duration{"a": time.Hour, "b": time.Hour, "c": time.Second, "d": 1900 * time.Millisecond}
		if a, took := run(t, c, s.ask, four(chain.Forbid), 5*time.Second); a.Forbidden || took != 2900*time.Millisecond {
			t.Errorf("got %s after %s", outcomes(a), took)
		}
		// The probe: one question, while others are answered at once.
		time.Sleep(time.Minute)
		s.takes, s.asked = nil, nil
		if a, _ := run(t, c, s.ask, four(chain.Allow), 5*time.Second); outcomes(a) != "a allowed, b allowed, c allowed, d allowed" {
			t.Errorf("got %s", outcomes(a))
		}
		if n := c.OpenCircuits(); n != 0 {
			t.Errorf("%d circuits are open after a success", n)
		}
	})
}

func TestRun_CutOffAndNotAskedOpenNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := &chain.Chain{}, &handlers{takes: map[string]time.Duration{"a": time.Hour}}
		for range 20 {
			a, _ := run(t, c, s.ask, four(chain.Allow), 300*time.Millisecond)
			if got, want := outcomes(a), "a cut_off, b not_asked, c not_asked, d not_asked"; got != want {
				t.Fatalf("got %s, want %s", got, want)
			}
		}
	})
}

func TestRun_AnswersThatAreNoDecisionOpenNoCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &handlers{fails: map[string]error{"a": errors.New("client.vip is no field"), "b": chain.Failure{Err: errors.New("connection refused")}}}
		c := &chain.Chain{}
		for range 8 {
			run(t, c, s.ask, four(chain.Allow), time.Second)
		}
		if n := c.OpenCircuits(); n != 1 {
			t.Errorf("%d circuits are open, want that of b", n)
		}
		c.Keep(func(name string) bool { return name != "b" })
		if n := c.OpenCircuits(); n != 0 {
			t.Errorf("%d circuits are open once b is gone", n)
		}
	})
}

func TestBudget_KeepsAReserveOrRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, row := range []struct {
			deadline, want time.Duration // want 0: refused
		}{
			{time.Hour, 9500 * time.Millisecond}, {5 * time.Second, 4500 * time.Millisecond}, {time.Second, 900 * time.Millisecond},
			{300 * time.Millisecond, 250 * time.Millisecond}, {60 * time.Millisecond, 10 * time.Millisecond}, {59 * time.Millisecond, 0}, {-time.Second, 0},
		} {
			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(row.deadline))
			end, err := chain.Budget(ctx, time.Now())
			cancel()
			if row.want == 0 {
				if !errors.Is(err, chain.ErrNoTime) {
					t.Errorf("%s: got %v", row.deadline, err)
				}
			} else if got := time.Until(end); err != nil || got != row.want {
				t.Errorf("%s: got %s, %v; want %s", row.deadline, got, err, row.want)
			}
		}
		if end, err := chain.Budget(t.Context(), time.Now()); err != nil || time.Until(end) != 9500*time.Millisecond {
			t.Errorf("without a deadline: got %s, %v", time.Until(end), err)
		}
	})
}

func TestRun_TheFirstForbidEndsTheChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := wrapperspb.String("changed")
		s := &handlers{answers: map[string]reply.Reply{
			"a": {Data: changed, Changes: []reply.Change{{Path: "value"}}}, "b": {Forbidden: true, Reason: "blacklisted"},
		}}
		a, _ := run(t, &chain.Chain{}, s.ask, four(chain.Allow), time.Second)
		if !a.Forbidden || a.ByPolicy || a.Reason != "blacklisted" || a.By.Handler.Name != "b" || a.Data != proto.Message(changed) {
			t.Errorf("got %+v", a)
		}
		if !slices.Equal(s.asked, []string{"a", "b"}) {
			t.Errorf("asked were %v", s.asked)
		}
	})
}

func TestRun_NoMoreQuestionsAtOnceThanTheHandlerTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open, most atomic.Int64
		release := make(chan struct{})
		c := &chain.Chain{}
		ask := func(ctx context.Context, _ *chain.Handler, data proto.Message) (reply.Reply, chain.Exchange, error) {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			<-release
			return reply.Reply{Data: data}, chain.Exchange{}, nil
		}
		h := &chain.Handler{Name: "a", Policy: chain.Allow, Timeout: time.Second, Concurrency: 3}
		busy := make(chan string, 10)
		for range 10 {
			go func() {
				a, err := c.Run(t.Context(), ask, []*chain.Handler{h}, wrapperspb.String(""), time.Now().Add(5*time.Second))
				if err != nil {
					t.Error(err)
					return
				}
				busy <- a.Results[0].Outcome.String()
			}()
		}
		counts := map[string]int{}
		for range 7 {
			counts[<-busy]++
		}
		close(release)
		for range 3 {
			counts[<-busy]++
		}
		if most.Load() != 3 || counts["busy"] != 7 || c.OpenCircuits() != 0 {
			t.Errorf("%d at once, %v", most.Load(), counts)
		}
	})
}

func TestRun_ACallerThatGoesAwayGetsNoDecision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ask := &chain.Chain{}, (&handlers{takes: hang}).ask
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			a, err := c.Run(ctx, ask, four(chain.Allow), wrapperspb.String(""), time.Now().Add(5*time.Second))
			if a != nil || !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, %v", a, err)
			}
		}
		if n := c.OpenCircuits(); n != 0 {
			t.Errorf("%d circuits are open", n)
		}
	})
}

func TestOrder_TiesGoByName(t *testing.T) {
	all := []*chain.Handler{{Name: "z", Priority: 1}, {Name: "b", Priority: 2}, {Name: "a", Priority: 2}, {Name: "c", Priority: -1}}
	slices.SortFunc(all, chain.Order)
	var got []string
	for _, h := range all {
		got = append(got, fmt.Sprint(h.Name))
	}
	if strings.Join(got, "") != "czab" {
		t.Errorf("got %v", got)
	}
}
