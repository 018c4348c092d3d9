package safeguard

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// asReplica, set, makes of the test binary the service itself, so that it can be killed.
const asReplica = "TOLLGATE_TEST_SAFEGUARD_REPLICA"

func TestMain(m *testing.M) {
	if os.Getenv(asReplica) != "" {
		daemon.Main("safeguard", DefaultConfig(), Run)
	}
	streamtest.VerifyTestMain(m)
}

const (
	testKey = "tg_0123456789abcdef"
	// patience of every wait: it only ends tests that fail.
	patience = 120 * time.Second
)

func TestReplicas_CountOnceWhileOneIsKilled(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Gold())
		f.outcomes(crowd)
		for i := range crowd {
			// Each replica knows every subscriber: its own, and through one hop those of the other.
			one, other := first.shows(subject(i)), second.shows(subject(i))
			if one.GetSequence() != other.GetSequence() || one.GetRevision() != 7 || safeguardtest.Amount(one.GetLimit()) != "50" {
				f.Errorf("one shows %v, the other %v", one, other)
			}
		}

		f.publish(charges("first", "45")...)
		first.kill()
		f.publish(charges("first", "45")...)
		f.publish(charges("second", "6")...)
		want := []string{
			"activated 0/50 ACTIVATION", "alert 80% at 40 45/50 USAGE", "reached 51/50 USAGE blocked", "overshoot by 1 51/50 USAGE blocked",
		}
		for s, got := range f.outcomes(4 * crowd) {
			if diff := cmp.Diff(want, got); diff != "" {
				f.Errorf("%s: %s", s, diff)
			}
		}
		for i := range crowd {
			m := second.shows(subject(i))
			if safeguardtest.Amount(m.GetSpent()) != "51" || !m.GetReached() || len(m.GetEligibleStates()) != 2 {
				f.Errorf("%s shows %v", subject(i), m)
			}
		}
		second.stop()
		if n := strings.Count(strings.Join(second.lines(), "\n"), `"message":"limit reached"`); n == 0 {
			f.Error("no line has a limit that was reached")
		}
		for _, l := range second.lines() {
			if strings.Contains(l, "4477009") {
				f.Errorf("a line names a subscriber: %s", l)
			}
		}
	})
}

func TestInventory_NamesViolations(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Gold(), &configv1.ClassOfService{Name: "tenants/acme/classesOfService/basic"})
		r := f.start()
		f.configured()
		basic := activations()[0]
		basic.Data = &eventv1.SubscriberActivated{ClassOfService: "basic"}
		others := activations()[1:]
		at := func(e *event.Event) int { return int(stream.PartitionOf([]byte(e.Key()), 4)) }
		// An activation without the option has no outcome; one behind it in the same partition does.
		known := others[slices.IndexFunc(others, func(e *event.Event) bool { return at(e) == at(basic) })]
		gone := others[len(others)-1]
		f.publish(basic, known, gone, &event.Event{
			ID: "t", Source: "test", Tenant: "acme", Subject: gone.Subject, Type: "subscriber.terminated", Data: &eventv1.SubscriberTerminated{},
		})
		f.outcomes(3)
		r.shows(known.Subject)
		if got := r.shows("+" + known.Subject); got.GetName() != nameOf(known.Subject) {
			f.Errorf("asked for by another spelling it is %s", got.GetName())
		}
		for _, test := range []struct {
			name, resource string
			kind           fault.Kind
			reason         string
		}{
			{"a name of something else", "tenants/acme/subscribers/1/options/overspendSafeguard", fault.Invalid, "NAME_INVALID"},
			{"a name without a subscriber", "tenants/acme/subscribers//options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"an MSISDN with two zeros", "tenants/acme/subscribers/00447700900123/options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"an MSISDN that is too short", "tenants/acme/subscribers/1234/options/dataSafeguard", fault.Invalid, "NAME_INVALID"},
			{"a subscriber that was not activated", nameOf("449999999999"), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a subscriber that is gone", nameOf(gone.Subject), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a subscriber of another tenant", strings.Replace(nameOf(known.Subject), "acme", "other", 1), fault.NotFound, "SUBSCRIBER_NOT_FOUND"},
			{"a class without the option", nameOf(basic.Subject), fault.NotFound, "OPTION_NOT_OFFERED"},
		} {
			_, err := r.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: test.resource})
			if fault.KindOf(err) != test.kind || fault.ReasonOf(err) != test.reason {
				f.Errorf("%s: %v", test.name, err)
			}
		}
	})
}

// A service that starts before its servers are ready reports that, and goes on when they are.
func TestRun_WaitsForTopics(t *testing.T) {
	t.Parallel()
	f := newFixture(t, streamtest.Embedded(t), statetest.Redises(t)[0])
	f.configure(safeguardtest.Gold())
	core, logs := observer.New(zapcore.InfoLevel)
	waits := make(chan string, 100)
	env := daemon.NewEnv("safeguard", zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "waiting" {
			waits <- fmt.Sprint(logs.All()[logs.Len()-1].ContextMap()["for"])
		}
		return nil
	})))
	ctx, cancel := context.WithCancel(f.ctx)
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, f.cfg, env) }()
	select {
	case check := <-waits:
		if check != "topics" || !slices.ContainsFunc(env.Health.Failing(), func(x daemon.Failing) bool { return x.Check == check }) {
			t.Errorf("waits for %s, and health has %v", check, env.Health.Failing())
		}
	case err := <-ended:
		t.Fatal(err)
	case <-f.ctx.Done():
		t.Fatal("it does not report what it waits for")
	}
	f.createTopics()
	f.configured()
	f.publish(activations()...)
	f.outcomes(crowd)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
