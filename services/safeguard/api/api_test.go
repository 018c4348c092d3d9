package api

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
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// fakeEngine is an engine that answers as a test has set.
type fakeEngine struct {
	reading, stored       fold.Reading[account.Subscriber]
	readErr, storedErr    error
	calls                 []func(*event.Event) (fold.Answer, error) // one after the other, the last again
	asked                 []*event.Event
	changed               chan struct{}
	readings, storedReads int
	end                   int64
}

func (s *fakeEngine) Read(context.Context, string) (fold.Reading[account.Subscriber], error) {
	s.readings++
	return s.reading, s.readErr
}

func (s *fakeEngine) Cached(string) (fold.Reading[account.Subscriber], bool) {
	if s.readErr == nil {
		s.readings++
	}
	return s.reading, s.readErr == nil
}

func (s *fakeEngine) ReadStored(context.Context, string) (fold.Reading[account.Subscriber], error) {
	s.storedReads++
	return s.stored, s.storedErr
}

func (s *fakeEngine) Call(_ context.Context, e *event.Event) (fold.Answer, error) {
	answer := s.calls[min(len(s.asked), len(s.calls)-1)]
	s.asked = append(s.asked, e)
	return answer(e)
}

func (s *fakeEngine) Partition(string) int32 { return 3 }

func (s *fakeEngine) End(context.Context, int32) (int64, error) { return s.end, nil }

func (s *fakeEngine) Watch(string) (<-chan struct{}, func()) { return s.changed, func() {} }

func catalogWith(t testing.TB, n int64, classes ...*configv1.ClassOfService) *account.Catalog {
	t.Helper()
	return catalogUnder(t, n, safeguardtest.NoGrace(), classes...)
}

func catalogUnder(t testing.TB, n int64, tenant *configv1.SubscriberPolicy, classes ...*configv1.ClassOfService) *account.Catalog {
	t.Helper()
	return account.Compile(safeguardtest.Snapshot(t, n, tenant, classes...), nil)
}

// only is one catalog, at hand for whatever revision is asked for.
func only(c *account.Catalog) catalogs { return catalogs{onlyOne{catalog: c}} }

type onlyOne struct {
	state.Revisions[*account.Catalog]
	catalog *account.Catalog
}

func (o onlyOne) At(state.Revision) (*account.Catalog, error) { return o.catalog, nil }
func (o onlyOne) Latest() (*account.Catalog, bool)            { return o.catalog, o.catalog != nil }
func (o onlyOne) Changed() <-chan struct{}                    { return nil }

// forwarded is enforcement behind the interceptor that sends requests on to peers.
func forwarded(t testing.TB, s *subscribers) *enforcement {
	t.Helper()
	p := NewReplicas()
	t.Cleanup(p.Close)
	return newEnforcement(s, &forwarding{local: s, peers: p})
}

// reachable is the API in front of an engine, at a time, under a class at revision 3.
func reachable(t testing.TB, s *fakeEngine, now string, c *configv1.ClassOfService) *subscribers {
	t.Helper()
	a, err := newAnswered(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return &subscribers{
		records: s, clock: func() time.Time { return safeguardtest.Moment(now) }, answered: a, stopping: make(chan struct{}), timeout: 2 * time.Minute,
		catalogs: only(catalogWith(t, 3, c)),
	}
}

// begun is a subscriber of a class as its activation on 2 March, 9:00, leaves it, decided on under revision 2, changed by edits.
func begun(t testing.TB, c *configv1.ClassOfService, edits ...func(*account.Subscriber)) fold.Reading[account.Subscriber] {
	t.Helper()
	at := safeguardtest.Moment("2026-03-02T09:00")
	v := account.View{Tenant: "acme", MSISDN: safeguardtest.MSISDN, Exists: true, Now: at, Subscriber: account.Subscriber{
		Activated: at, Class: "gold", IMSI: "234150999999999", Language: "en",
	}}
	v.Under(catalogWith(t, 3, c))
	sub := v.Subscriber
	sub.Revision = 2
	for _, edit := range edits {
		edit(&sub)
		for o := range sub.Options {
			sub.Options[o].Blocked = sub.Options[o].Blocks()
		}
	}
	return fold.Reading[account.Subscriber]{
		Body: sub, Exists: true, Sequence: 42, Revision: state.Revision{Number: 3}, Time: safeguardtest.Moment("2026-03-12T09:00"), Staleness: 300 * time.Millisecond,
	}
}

// In these an option is as a test wants it.

func spent(o spend.Option, amount string) func(*account.Subscriber) {
	return func(s *account.Subscriber) {
		s.Options[o].Count = spend.Count{Spent: amountIs(safeguardtest.Units(amount)), Peak: amountIs(safeguardtest.Units(amount))}
	}
}

func inState(o spend.Option, state spend.State) func(*account.Subscriber) {
	return func(s *account.Subscriber) { s.Options[o].State = state }
}

func limited(o spend.Option, amount string) func(*account.Subscriber) {
	return func(s *account.Subscriber) {
		s.Options[o].Limit, s.Options[o].Limited, s.Options[o].OwnLimit = amountIs(safeguardtest.Units(amount)), true, true
	}
}

func next(o spend.Option, amount string) func(*account.Subscriber) {
	return func(s *account.Subscriber) {
		s.Options[o].Next, s.Options[o].HasNext = amountIs(safeguardtest.Units(amount)), true
	}
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
