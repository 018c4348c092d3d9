package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func ofUsage(u *eventv1.UsageCharged) *optionsv1.AuthorizeRequest {
	return &optionsv1.AuthorizeRequest{Name: wholeName, Use: &optionsv1.AuthorizeRequest_Usage{Usage: u}}
}

func ofOption(o spend.Option) *optionsv1.AuthorizeRequest {
	return &optionsv1.AuthorizeRequest{Name: wholeName, Use: &optionsv1.AuthorizeRequest_Option{Option: account.OptionOnWire(o)}}
}

// decisionLine is an answer as text: decision, reason, what blocks, until when.
func decisionLine(m *optionsv1.AuthorizeResponse) string {
	words := []string{strings.ToLower(strings.TrimPrefix(m.GetDecision().String(), "DECISION_"))}
	if m.GetReason() != "" {
		words = append(words, m.GetReason())
	}
	for _, o := range m.GetBlockedBy() {
		words = append(words, account.OptionOf(o).String())
	}
	if m.GetUntil() != nil {
		words = append(words, "until "+m.GetUntil().AsTime().Format("2006-01-02T15:04:05"))
	}
	return strings.Join(words, " ")
}

var (
	noAccess = func(c *configv1.ClassOfService) {
		c.OverspendSafeguard.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
	}
	badScope = func(c *configv1.ClassOfService) { c.DataSafeguard.Scope = "usage.quantity / 0 == 1" }
	allowing = func(c *configv1.ClassOfService) {
		c.DataSafeguard.OnUnknown = configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW
	}
)

func TestAuthorize_ByTheBlockingBits(t *testing.T) {
	everywhere := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true, ThirdParty: true}
	home := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA}
	reached := spent(spend.Data, "50")
	for _, test := range []struct {
		name  string
		class []func(*configv1.ClassOfService)
		is    []func(*account.Subscriber)
		req   *optionsv1.AuthorizeRequest
		want  string
	}{
		{"nothing is spent", nil, nil, ofUsage(roamingData()), "allow"},
		{"a billionth is left", nil, []func(*account.Subscriber){spent(spend.Data, "49.999999999")}, ofUsage(roamingData()), "allow"},
		{"exactly at the limit", nil, []func(*account.Subscriber){reached}, ofUsage(roamingData()), "deny LIMIT_REACHED data until 2026-04-01T00:00:00"},
		{"the limit is reached, of something else", nil, []func(*account.Subscriber){reached}, ofUsage(home), "allow"},
		{"the option asked by its name", nil, []func(*account.Subscriber){reached}, ofOption(spend.Data), "deny LIMIT_REACHED data until 2026-04-01T00:00:00"},
		{"another option asked by its name", nil, []func(*account.Subscriber){reached}, ofOption(spend.Payment), "allow"},
		{"turned off for this period, and the next begins blocked", []func(*configv1.ClassOfService){func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = safeguardtest.Units("0") }},
			[]func(*account.Subscriber){reached, inState(spend.Data, spend.TemporarilyInactive)}, ofUsage(roamingData()), "allow until 2026-04-01T00:00:00"},
		{"turned off for this period, and the next begins open", nil, []func(*account.Subscriber){reached, inState(spend.Data, spend.TemporarilyInactive)}, ofUsage(roamingData()), "allow"},
		{"a limit of 0", []func(*configv1.ClassOfService){func(c *configv1.ClassOfService) { c.DataSafeguard.Limit = safeguardtest.Units("0") }}, nil, ofUsage(roamingData()), "deny LIMIT_REACHED data"},
		{"a limit that the class lowers from the next period on", nil, []func(*account.Subscriber){func(s *account.Subscriber) { s.Options[spend.Data].Limit *= 2 }}, ofUsage(roamingData()), "allow"},
		{"a next limit of 0", nil, []func(*account.Subscriber){limited(spend.Overspend, "10"), next(spend.Overspend, "0"), inState(spend.Overspend, spend.Active)},
			ofUsage(everywhere), "allow until 2026-04-01T00:00:00"},
		{"a next limit of 0 behind one that is reached", nil, []func(*account.Subscriber){limited(spend.Overspend, "10"), next(spend.Overspend, "0"), inState(spend.Overspend, spend.Active), spent(spend.Overspend, "10")},
			ofUsage(everywhere), "deny LIMIT_REACHED overspend"},
		{"inactive is open", nil, nil, ofOption(spend.Overspend), "allow"},
		{"inactive is no access", []func(*configv1.ClassOfService){noAccess}, nil, ofOption(spend.Overspend), "deny INACTIVE overspend"},
		{"the first reason of several", []func(*configv1.ClassOfService){noAccess}, []func(*account.Subscriber){reached, spent(spend.Payment, "300")},
			ofUsage(everywhere), "deny LIMIT_REACHED data overspend payment"},
		{"the limit is the reason, whatever comes behind", []func(*configv1.ClassOfService){noAccess}, []func(*account.Subscriber){reached},
			ofUsage(everywhere), "deny LIMIT_REACHED data overspend"},
		{"until the last of several", nil, []func(*account.Subscriber){reached, spent(spend.Payment, "300"), func(s *account.Subscriber) {
			s.Options[spend.Payment].Period.End = safeguardtest.Moment("2026-04-15T00:00")
		}}, ofUsage(everywhere), "deny LIMIT_REACHED data payment until 2026-04-15T00:00:00"},
		{"a scope that fails has no effect on an option that does not block", []func(*configv1.ClassOfService){badScope}, nil, ofUsage(roamingData()), "allow"},
		{"a scope that fails, blocked", []func(*configv1.ClassOfService){badScope}, []func(*account.Subscriber){reached}, ofUsage(roamingData()), "deny UNKNOWN data until 2026-03-12T10:00:01"},
		{"a scope that fails, allowed", []func(*configv1.ClassOfService){badScope, allowing}, []func(*account.Subscriber){reached}, ofUsage(roamingData()), "allow UNKNOWN until 2026-03-12T10:00:01"},
		{"payments, a month spent", nil, []func(*account.Subscriber){spent(spend.Payment, "300")}, ofUsage(everywhere), "deny LIMIT_REACHED payment until 2026-04-01T00:00:00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := safeguardtest.Full(test.class...)
			s := reachable(t, &fakeEngine{reading: begun(t, c, test.is...)}, "2026-03-12T10:00", c)
			got, err := (&enforcement{subscribers: s}).Authorize(t.Context(), test.req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, decisionLine(got)); diff != "" {
				t.Error(diff)
			}
			if got.GetSequence() != 42 || got.GetStaleness().AsDuration() != durationpb.New(300e6).AsDuration() {
				t.Errorf("sequence %d, staleness %s", got.GetSequence(), got.GetStaleness())
			}
		})
	}
}

// Whatever state an option is in: asked by its name, Authorize denies exactly what the inventory shows as reached, which
// is the bit that safeguard.reached sets; and until is when that changes.
func TestAuthorize_AndInventoryShowOneBit(t *testing.T) {
	states := [spend.Options][]spend.State{
		{spend.Active, spend.TemporarilyInactive, spend.PermanentlyInactive}, {spend.Active, spend.Inactive}, {spend.Active, spend.Inactive},
	}
	rapid.Check(t, func(r *rapid.T) {
		c := safeguardtest.Full()
		if rapid.Bool().Draw(r, "inactive blocks") {
			noAccess(c)
		}
		var edits []func(*account.Subscriber)
		for o := range spend.Option(spend.Options) {
			edits = append(edits,
				inState(o, rapid.SampledFrom(states[o]).Draw(r, fmt.Sprint("state of ", o))),
				spent(o, fmt.Sprint(rapid.IntRange(0, 60).Draw(r, fmt.Sprint("spent of ", o)))))
		}
		edits = append(edits, limited(spend.Overspend, fmt.Sprint(rapid.IntRange(0, 60).Draw(r, "limit"))))
		if rapid.Bool().Draw(r, "next") {
			edits = append(edits, next(spend.Overspend, fmt.Sprint(rapid.IntRange(0, 2).Draw(r, "next limit"))))
		}
		reading := begun(t, c, edits...)
		s := reachable(t, &fakeEngine{reading: reading}, "2026-03-12T10:00", c)
		shown, err := list(t.Context(), s)
		if err != nil {
			r.Fatal(err)
		}
		denied := func(s *subscribers, o spend.Option) (bool, *optionsv1.AuthorizeResponse) {
			m, err := (&enforcement{subscribers: s}).Authorize(t.Context(), ofOption(o))
			if err != nil {
				r.Fatal(err)
			}
			return m.GetDecision() == optionsv1.AuthorizeResponse_DECISION_DENY, m
		}
		for o, reached := range map[spend.Option]bool{
			spend.Data: shown.GetDataSafeguard().GetReached(), spend.Overspend: shown.GetOverspendSafeguard().GetReached(), spend.Payment: shown.GetPaymentSafeguard().GetReached(),
		} {
			deny, m := denied(s, o)
			if deny != reached || deny != reading.Body.Options[o].Blocked {
				r.Errorf("%s: the inventory shows %v, Authorize answers %s", o, reached, decisionLine(m))
			}
			for _, at := range []string{"2026-03-31T23:59", "2026-04-01T00:00", "2026-09-01T00:00"} {
				then, _ := denied(reachable(t, &fakeEngine{reading: reading}, at, c), o)
				holds := m.GetUntil() == nil || safeguardtest.Moment(at).Before(m.GetUntil().AsTime())
				if changed := then != deny; changed == holds {
					r.Errorf("%s: %s, and at %s it is denied: %v", o, decisionLine(m), at, then)
				}
			}
		}
	})
}

var allowsTenant = &configv1.SubscriberPolicy{OnUnknown: configv1.UnknownPolicy_UNKNOWN_POLICY_ALLOW}

func TestAuthorize_UnknownByThePolicy(t *testing.T) {
	const soon = " until 2026-03-12T10:00:01"
	rebuilds := func(s *fakeEngine) { s.readErr, s.storedErr = fold.ErrUnknown, fold.ErrUnknown }
	for _, test := range []struct {
		name   string
		tenant *configv1.SubscriberPolicy
		class  []func(*configv1.ClassOfService)
		record bool
		req    *optionsv1.AuthorizeRequest
		want   string
	}{
		{"the class blocks by default", nil, nil, true, ofUsage(roamingData()), "deny UNKNOWN data" + soon},
		{"the class allows", nil, []func(*configv1.ClassOfService){allowing}, true, ofUsage(roamingData()), "allow UNKNOWN" + soon},
		{"the class allows, of another option", nil, []func(*configv1.ClassOfService){allowing}, true, ofOption(spend.Payment), "deny UNKNOWN payment" + soon},
		{"one of two options blocks", nil, []func(*configv1.ClassOfService){allowing}, true,
			ofUsage(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, OutOfBundle: true}), "deny UNKNOWN overspend" + soon},
		{"nothing counts it", nil, nil, true, ofUsage(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_SMS}), "allow" + soon},
		{"the tenant's policy does not count where the class is known", allowsTenant, nil, true, ofUsage(roamingData()), "deny UNKNOWN data" + soon},
		{"the tenant blocks by default", nil, nil, false, ofUsage(roamingData()), "deny UNKNOWN" + soon},
		{"the tenant allows", allowsTenant, nil, false, ofUsage(roamingData()), "allow UNKNOWN" + soon},
		{"the tenant blocks an option", nil, nil, false, ofOption(spend.Data), "deny UNKNOWN data" + soon},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := safeguardtest.Full(test.class...)
			engine := &fakeEngine{}
			if rebuilds(engine); test.record {
				engine.stored = begun(t, c)
			}
			s := reachable(t, engine, "2026-03-12T10:00", c)
			s.catalogs = only(catalogUnder(t, 3, test.tenant, c))
			got, err := (&enforcement{subscribers: s}).Authorize(t.Context(), test.req)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, decisionLine(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a number that usage waits for", func(t *testing.T) {
		engine := &fakeEngine{reading: fold.Reading[account.Subscriber]{Exists: true, Body: account.Subscriber{Life: account.LifePending}}}
		got, err := (&enforcement{subscribers: reachable(t, engine, "2026-03-12T10:00", safeguardtest.Full())}).Authorize(t.Context(), ofUsage(roamingData()))
		if err != nil || decisionLine(got) != "deny UNKNOWN"+soon {
			t.Errorf("%v, %v", got, err)
		}
	})
	t.Run("a number without a subscriber", func(t *testing.T) {
		_, err := (&enforcement{subscribers: reachable(t, &fakeEngine{}, "2026-03-12T10:00", safeguardtest.Full())}).Authorize(t.Context(), ofUsage(roamingData()))
		if fault.ReasonOf(err) != account.ReasonNotFound {
			t.Error(err)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	c := safeguardtest.Full()
	for name, is := range map[string][]func(*account.Subscriber){"allowed": nil, "denied": {spent(spend.Data, "50")}} {
		b.Run(name, func(b *testing.B) {
			s := reachable(b, &fakeEngine{reading: begun(b, c, is...)}, "2026-03-12T10:00", c)
			v, req := &enforcement{subscribers: s}, ofUsage(roamingData())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Authorize(b.Context(), req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
