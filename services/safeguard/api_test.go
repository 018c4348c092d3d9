package safeguard

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// told beforehand: what the engine answers in tests of a single door.
type engineSays struct {
	reading, stored       fold.Reading[subscriber]
	readErr, storedErr    error
	calls                 []func(*event.Event) (fold.Answer, error) // one after the other, the last again
	asked                 []*event.Event
	changed               chan struct{}
	readings, storedReads int
	end                   int64
}

func (s *engineSays) Read(context.Context, string) (fold.Reading[subscriber], error) {
	s.readings++
	return s.reading, s.readErr
}

func (s *engineSays) ReadStored(context.Context, string) (fold.Reading[subscriber], error) {
	s.storedReads++
	return s.stored, s.storedErr
}

func (s *engineSays) Call(_ context.Context, e *event.Event) (fold.Answer, error) {
	say := s.calls[min(len(s.asked), len(s.calls)-1)]
	s.asked = append(s.asked, e)
	return say(e)
}

func (s *engineSays) Partition(string) int32 { return 3 }

func (s *engineSays) End(context.Context, int32) (int64, error) { return s.end, nil }

func (s *engineSays) Watch(string) (<-chan struct{}, func()) { return s.changed, func() {} }

// everything is a class with all three options.
func everything(edits ...func(*configv1.ClassOfService)) *configv1.ClassOfService {
	c := &configv1.ClassOfService{
		Name:               "tenants/acme/classesOfService/gold",
		DataSafeguard:      &configv1.DataSafeguardOption{Limit: units("50")},
		OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"},
		PaymentSafeguard:   &configv1.PaymentSafeguardOption{Limit: units("300"), PerPaymentLimit: units("50")},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

// reachable is the API in front of an engine, at a time, under a class at revision 3.
func reachable(t testing.TB, s *engineSays, now string, c *configv1.ClassOfService) *subscribers {
	t.Helper()
	p, err := newPeers(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	a, err := newAnswered(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &subscribers{
		records: s, peers: p, clock: func() time.Time { return moment(now) }, answered: a, stopping: make(chan struct{}), timeout: patience,
		catalogs: only(catalogOf(t, 3, c)),
	}
}

// begun is a subscriber of a class as its activation on 2 March, 9:00, leaves it, judged by revision 2, changed by edits.
func begun(t testing.TB, c *configv1.ClassOfService, edits ...func(*subscriber)) fold.Reading[subscriber] {
	t.Helper()
	at := moment("2026-03-02T09:00")
	turn := turn{
		at: at, eventTime: at, cause: cause{event: &event.Event{}}, tenant: "acme", msisdn: msisdn, catalog: catalogOf(t, 3, c), exists: true,
		sub: subscriber{activated: at, latest: at, class: "gold", imsi: "234150999999999", language: "en", revision: 2},
	}
	for o, of := range turn.class().offers {
		if of != nil {
			turn.begin(spend.Option(o), of, initial{}, becauseActivation)
		}
	}
	for _, edit := range edits {
		edit(&turn.sub)
		for o := range spend.Option(spend.Options) {
			turn.judge(o)
		}
	}
	return fold.Reading[subscriber]{
		Body: turn.sub, Exists: true, Sequence: 42, Revision: state.Revision{Number: 3}, Time: moment("2026-03-12T09:00"), Staleness: 300 * time.Millisecond,
	}
}

// In these an option is as a test wants it.

func spent(o spend.Option, amount string) func(*subscriber) {
	return func(s *subscriber) {
		s.options[o].count = spend.Count{Spent: amountIs(units(amount)), Peak: amountIs(units(amount))}
	}
}

func inState(o spend.Option, state spend.State) func(*subscriber) {
	return func(s *subscriber) { s.options[o].state = state }
}

func limited(o spend.Option, amount string) func(*subscriber) {
	return func(s *subscriber) {
		s.options[o].limit, s.options[o].limited, s.options[o].own = amountIs(units(amount)), true, true
	}
}

func next(o spend.Option, amount string) func(*subscriber) {
	return func(s *subscriber) { s.options[o].next, s.options[o].hasNext = amountIs(units(amount)), true }
}

func amountIs(m *money.Money) spend.Amount {
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	if err != nil {
		panic(err)
	}
	return a
}

func roamingData() *eventv1.UsageCharged {
	return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true}
}
