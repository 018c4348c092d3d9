package provision

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

const nameOfHook = "tenants/acme/hooks/h"

func failure(outcome chain.Outcome) *chain.Result {
	return &chain.Result{Handler: &chain.Handler{Name: nameOfHook}, Outcome: outcome, Text: "no connection"}
}

func TestFailing_OnceAMinuteWithTheCountOfAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var count int64
		var takenAt time.Time
		var published []*eventv1.HookFailed
		var at []time.Time
		broken := false
		var mu sync.Mutex // of all these, which replicas share
		replica := func() *failing {
			f := &failing{
				topic: "events.unordered", clock: time.Now, log: zap.NewNop(),
				add: func(_ context.Context, _ string, n int64, every time.Duration) (int64, time.Duration, error) {
					mu.Lock()
					defer mu.Unlock()
					count += n
					if again := every - time.Since(takenAt); again > 0 && count > 0 {
						return 0, again, nil
					}
					n, count, takenAt = count, 0, time.Now()
					return n, 0, nil
				},
				produce: func(_ context.Context, records ...stream.Record) error {
					mu.Lock()
					defer mu.Unlock()
					if broken {
						return errors.New("Kafka is away")
					}
					e, err := event.Decode(records[0].Value)
					if err != nil {
						return err
					}
					if err := e.Validate(); err != nil || e.Subject != "hook/h" || e.Tenant != "acme" || e.Source != "tollgate/provision" {
						t.Errorf("published is %+v, %v", e, err)
					}
					published, at = append(published, e.Data.(*eventv1.HookFailed)), append(at, time.Now())
					return nil
				},
			}
			go f.Run(ctx) //nolint:errcheck // it returns nil
			return f
		}
		a, b := replica(), replica()
		total := int64(0)
		for range 1000 { // ten to a second, on two replicas, for 100 s
			a.observe("acme", "client.created", failure(chain.TimedOut))
			b.observe("acme", "client.created", failure(chain.CircuitOpen))
			b.observe("acme", "client.created", failure(chain.Forbade))
			b.observe("acme", "client.created", failure(chain.CutOff))
			b.observe("acme", "client.created", failure(chain.NotAsked))
			total += 2
			time.Sleep(100 * time.Millisecond)
		}
		kafka := func(away bool) {
			mu.Lock()
			defer mu.Unlock()
			broken = away
		}
		kafka(true)
		time.Sleep(time.Minute)
		kafka(false)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		sum := int64(0)
		for i, p := range published {
			sum += p.GetCount()
			if i > 0 && at[i].Sub(at[i-1]) < failedEvery {
				t.Errorf("two within %s", at[i].Sub(at[i-1]))
			}
			if p.GetHook() != nameOfHook || p.GetEventType() != "client.created" || !strings.HasSuffix(p.GetReason(), ": no connection") {
				t.Errorf("published is %v", p)
			}
		}
		if sum != total || len(published) < 2 || len(published) > 4 {
			t.Errorf("%d events count %d failures of %d", len(published), sum, total)
		}
		if len(a.all)+len(b.all) != 0 {
			t.Error("what is published is remembered")
		}
	})
}

func TestFailing_ItIsAnEventOfItsOwn(t *testing.T) {
	onServers(t, func(f *fixture) {
		_, hook := f.http("down", answering(500, "no"))
		hook.FailurePolicy = configv1.FailurePolicy_FAILURE_POLICY_ALLOW
		f.save()
		r, other := f.start(), f.start()
		for _, key := range []string{"k1", "k2", "k3"} {
			f.decided(r, nord(key))
			f.decided(other, nord(key+"'"))
		}
		var all []string
		for _, record := range f.records(stream.EventsUnordered, 1) {
			e, err := event.Decode(record.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e.Type)
			if d, ok := e.Data.(*eventv1.HookFailed); !ok || d.GetHook() != "tenants/acme/hooks/down" || d.GetCount() < 1 || d.GetCount() > 6 {
				t.Errorf("published is %+v", e)
			}
		}
		if !slices.Equal(all, []string{"hook.failed"}) {
			t.Errorf("published are %v", all)
		}
	})
}
