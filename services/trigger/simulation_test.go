package trigger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/foldtest"
	"github.com/tollgate/tollgate/pkg/simulation"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/trigger/model"
)

var simulationHistories = simulation.Histories{Short: 10, Test: 80, Long: 1500}

// The engine is exact for this fold: kills at every step, zombies, stores set back and emptied, revisions
// and time moving on leave the first appearances as they are.
func TestSimulation_CrashesLeaveNoTrace(t *testing.T) {
	s := newSimulation(t)
	simulation.Run(t, simulationHistories, func(t *testing.T, seed uint64) { s.Run(t, seed, foldtest.NewMemory()) })
}

func newSimulation(t *testing.T) foldtest.Simulation[body, *Book] {
	var revisions []*Book
	for n := range int64(5) {
		b := book(snapshot(n, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{
				rule("spent", []string{"usage.charged"}, fmt.Sprintf("data.net.units > %d", n), action("notify", "crm"), action("more", "app")),
				rule("breaks", []string{"usage.charged"}, "10 / data.net.units > 2", action("notify", "app")),
			}
			if n == 3 {
				s.Endpoints[1].Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
			}
		}), nil)
		revisions = append(revisions, b)
	}
	return foldtest.Simulation[body, *Book]{
		Steps:         300,
		NewFold:       func() fold.Fold[body, *Book] { return &evaluation{topic: plain} },
		Configuration: func(revision int64) *Book { return revisions[revision%5] },
		Draw: func(r *rand.Rand, _ []*event.Event, now time.Time) *event.Event {
			return usage("", fmt.Sprintf("44%d", r.IntN(4)), r.Int64N(9), now.Add(-time.Duration(r.IntN(600))*time.Second))
		},
		Sequence: sequenceOf,
	}
}

var statefulHistories = simulation.Histories{Short: 6, Test: 40, Long: 3000}

// Rules of every kind, edited, deactivated and deleted meanwhile: what is planned and decided is what a model makes of the log,
// and no crash leaves a trace.
func TestSimulation_RulesWithStateAgreeWithTheModel(t *testing.T) {
	s := newStateful(t, 300)
	_, one := simulation.Only(t)
	t.Cleanup(func() { checkMet(t, !one && statefulHistories.Count(t) >= 40) })
	simulation.Run(t, statefulHistories, func(t *testing.T, seed uint64) { s.Run(t, seed, foldtest.NewMemory()) })
}

// met counts what histories came upon: plans by rule, decisions by reason.
var met sync.Map

// checkMet fails where something that a history may come upon never was.
func checkMet(t *testing.T, enough bool) {
	want := []string{"CAP", "CANCELLED", "KEY_TOO_LARGE", "OF_ABSENT", "OTHER_CURRENCY", "FROM_ABSENT", "EVENT_TOO_LARGE"}
	for _, code := range model.Codes {
		want = append(want, "plan "+code)
	}
	for _, what := range want {
		n, ok := met.Load(what)
		if !ok {
			n = new(atomic.Int64)
		}
		if t.Logf("%s: %d", what, n.(*atomic.Int64).Load()); enough && !ok {
			t.Errorf("no history came upon %s", what)
		}
	}
}

func meet(what string) {
	n, _ := met.LoadOrStore(what, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

func newStateful(t *testing.T, steps int) foldtest.Simulation[body, *Book] {
	const revisions = 12 // what RuleAt does comes again then
	var books []*Book
	for n := range int64(revisions) {
		b := book(snapshot(n, func(s *configv1.Snapshot) {
			s.Tenants[0].TimeZone = "Europe/Berlin"
			for _, e := range s.Endpoints {
				e.Profile = configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS
			}
			s.Notifications = nil
			for _, code := range model.Codes {
				if r := model.RuleAt(n+revisions, code); r.Exists {
					s.Notifications = append(s.Notifications, r.Notification())
				}
			}
		}), nil)
		if len(b.unreadable) > 0 {
			t.Fatal(b.unreadable)
		}
		books = append(books, b)
	}
	return foldtest.Simulation[body, *Book]{
		Steps:         steps,
		NewFold:       func() fold.Fold[body, *Book] { return &evaluation{topic: plain} },
		Configuration: func(revision int64) *Book { return books[revision%revisions] },
		Draw:          func(r *rand.Rand, _ []*event.Event, now time.Time) *event.Event { return model.Draw(r, 3, now) },
		Leap:          23 * time.Hour,
		Sequence:      sequenceOf,
		Loose:         ofTimer,
		Model:         compareStateful,
	}
}

// sequenceOf reads the ordering key and the sequence of a delivery that has an order.
func sequenceOf(r stream.Record) (string, int64, bool) {
	d, err := delivery.Decode(r)
	if err != nil || !d.Ordered {
		return "", 0, false
	}
	return d.Endpoint + " " + d.Event.Subject, d.Sequence, true
}

// ofTimer reports what a timer published, or of one: it has no order.
func ofTimer(r stream.Record) bool {
	firing := ""
	if d, err := delivery.Decode(r); err == nil {
		firing = d.Firing
	} else if d := decisionOf(r); d != nil {
		firing = d.GetFiring()
	}
	_, err := time.Parse(time.RFC3339, firing)
	return err == nil
}

// decisionOf is the decision that a record is, or nil.
func decisionOf(r stream.Record) *triggerv1.Decision {
	d := &triggerv1.Decision{}
	if kind, _ := r.Header(event.HeaderType); string(kind) != typeDecided || proto.Unmarshal(r.Value, d) != nil {
		return nil
	}
	return d
}

func compareStateful(t testing.TB, seed uint64, log, published []stream.Record, _ map[string][]byte) {
	t.Helper()
	m := model.New(model.RuleAt)
	for _, r := range log {
		e, err := event.Decode(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		m.Pass(r.Time.UnixMilli())
		if data, ok := e.Data.(*controlv1.Revision); ok {
			m.Revision = max(m.Revision, data.GetRevision())
		} else if !event.IsControl(e.Type) {
			m.Event(e)
		}
	}
	var got []string
	for _, r := range published {
		if d := decisionOf(r); d != nil {
			reason := strings.TrimPrefix(d.GetReason().String(), "REASON_")
			meet(reason)
			got = append(got, fmt.Sprintf("%d %s %s %s %s %q by %s at %d", d.GetRevision(), reason, d.GetEvent().GetSubject(), d.GetNotification(),
				d.GetEvent().GetId(), d.GetKey(), d.GetFiring(), d.GetTime().AsTime().UnixMilli()))
			continue
		}
		d, err := delivery.Decode(r)
		if err != nil {
			t.Fatalf("published what is no delivery: %v", err)
		}
		text := strings.TrimSuffix(strings.TrimPrefix(string(d.Body), `{"text":"`), `"}`)
		meet("plan " + d.Notification)
		got = append(got, fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, %d", d.Revision, d.Event.Subject, d.Notification, d.Event.ID, d.Firing,
			d.PlannedAt.UnixMilli(), text, d.Sequence))
	}
	slices.Sort(got)
	slices.Sort(m.Lines)
	if diff := cmp.Diff(m.Lines, got); diff != "" {
		t.Errorf("seed %d: the model differs:\n%s", seed, diff)
	}
}
