// Package safeguardtest has what the tests of safeguard's packages are written with: a number, classes of service, amounts
// and times, and outcomes as lines of text.
package safeguardtest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// MSISDN is the number that they are about, unless another is named.
const MSISDN = "447700900123"

// Moment reads a time of UTC, to the minute.
func Moment(s string) time.Time {
	at, err := time.Parse("2006-01-02T15:04", s)
	if err != nil {
		panic(err)
	}
	return at
}

// Stamp is a Moment on the wire.
func Stamp(at string) *timestamppb.Timestamp { return timestamppb.New(Moment(at)) }

// Units is a whole or broken number of units.
func Units(amount string) *money.Money {
	whole, rest, _ := strings.Cut(strings.TrimPrefix(amount, "-"), ".")
	count, err := strconv.ParseInt(whole, 10, 64)
	nanos, errNanos := strconv.ParseInt((rest + "000000000")[:9], 10, 32)
	if err != nil || errNanos != nil {
		panic(amount + " is no amount")
	}
	m := &money.Money{CurrencyCode: "EUR", Units: count, Nanos: int32(nanos)}
	if strings.HasPrefix(amount, "-") {
		m.Units, m.Nanos = -m.GetUnits(), -m.GetNanos()
	}
	return m
}

// Amount is money as a figure.
func Amount(m *money.Money) string {
	a, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	if err != nil {
		return err.Error()
	}
	return a.String()
}

// Gold is a class with the data safeguard: 50 EUR a month, alert at 80 %.
func Gold(edits ...func(*configv1.DataSafeguardOption)) *configv1.ClassOfService {
	o := &configv1.DataSafeguardOption{Limit: Units("50")}
	for _, edit := range edits {
		edit(o)
	}
	return &configv1.ClassOfService{Name: "tenants/acme/classesOfService/gold", DataSafeguard: o}
}

// Limit is that of the data safeguard.
func Limit(amount string) func(*configv1.DataSafeguardOption) {
	return func(o *configv1.DataSafeguardOption) { o.Limit = Units(amount) }
}

// Line is an outcome in words: its kind, what it is about, spent of limit, reason.
func Line(t testing.TB, r stream.Record) string {
	t.Helper()
	if reason, ok := r.Header(event.HeaderReason); ok {
		return "rejected " + string(reason)
	}
	e, err := event.Decode(r.Value)
	if err != nil {
		t.Fatal(err)
	}
	d := e.Data.(*eventv1.Safeguard)
	words := []string{strings.TrimPrefix(e.Type, "safeguard.")}
	if o := d.GetOption(); o != eventv1.Safeguard_OPTION_DATA {
		words = []string{strings.ToLower(strings.TrimPrefix(o.String(), "OPTION_")), words[0]}
	}
	if e.Subject != MSISDN {
		words = append([]string{e.Subject}, words...)
	}
	switch e.Type {
	case "safeguard.alert":
		if n := d.GetThreshold().GetPercent(); n != 0 {
			words = append(words, fmt.Sprintf("%d%%", n))
		}
		if d.GetThreshold().GetSecondNotice() {
			words = append(words, "notice")
		}
		words = append(words, "at "+Amount(d.GetThreshold().GetAmount()))
	case "safeguard.opted_out":
		words = append(words, strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(d.GetState().String(), "STATE_")), "_", "-"))
	case "safeguard.renewal_day_changed":
		words = append(words, fmt.Sprintf("to %d, ends %s", d.GetRenewalDay(), d.GetPeriodEnd().AsTime().Format("2006-01-02T15:04")))
	case "safeguard.overshoot":
		words = append(words, "by "+Amount(d.GetOvershoot()))
	case "safeguard.late":
		words = append(words, Amount(d.GetLate())+" of "+d.GetPeriodStart().AsTime().Format("2006-01-02T15:04"))
	}
	limit := "-"
	if d.GetLimit() != nil {
		limit = Amount(d.GetLimit())
	}
	words = append(words, Amount(d.GetSpent())+"/"+limit)
	if d.GetNextLimit() != nil {
		words = append(words, "next "+Amount(d.GetNextLimit()))
	}
	words = append(words, d.GetReason())
	if d.GetBlocked() {
		words = append(words, "blocked")
	}
	return strings.Join(words, " ")
}

// Full is class gold with all three: data 50 EUR a month, overspend without a default limit, payments 300 a month and 50
// each.
func Full(edits ...func(*configv1.ClassOfService)) *configv1.ClassOfService {
	c := Gold()
	c.OverspendSafeguard = &configv1.OverspendSafeguardOption{CurrencyCode: "EUR"}
	c.PaymentSafeguard = &configv1.PaymentSafeguardOption{Limit: Units("300"), PerPaymentLimit: Units("50")}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

// DefaultLimit lets new subscribers have an overspend safeguard that is active.
func DefaultLimit(amount string) func(*configv1.ClassOfService) {
	return func(c *configv1.ClassOfService) {
		c.OverspendSafeguard.DefaultLimit, c.OverspendSafeguard.DefaultState = Units(amount), eventv1.Safeguard_STATE_ACTIVE
	}
}

// Snapshot is a revision with the configuration of tenant acme, and classes of service.
func Snapshot(t testing.TB, revision int64, tenant *configv1.SubscriberPolicy, classes ...*configv1.ClassOfService) *configclient.Snapshot {
	t.Helper()
	s := configclient.Decode(&configv1.Snapshot{
		Revision: revision, ApplyRevision: revision, Tenants: []*configv1.Tenant{{Name: "tenants/acme", Subscribers: tenant}}, ClassesOfService: classes,
	})
	if violations := s.Unreadable(); len(violations) > 0 {
		t.Fatal(violations)
	}
	return s
}

// NoGrace has usage of unknown numbers rejected at once.
func NoGrace() *configv1.SubscriberPolicy {
	return &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}
}
