package account

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// simulatedCatalogs are catalogs that differ from revision to revision in whatever may.
func simulatedCatalogs(t *testing.T) func(int64) *Catalog {
	made := map[int64]*Catalog{}
	return func(n int64) *Catalog {
		if c, ok := made[n]; ok {
			return c
		}
		r := rand.New(rand.NewPCG(uint64(n), 7))
		tenant := &configv1.SubscriberPolicy{DedupWindow: durationpb.New(time.Duration(24+r.IntN(48)) * time.Hour), UnknownGrace: durationpb.New(time.Duration(r.IntN(3)) * 45 * time.Second)}
		if r.IntN(3) == 0 {
			tenant.DefaultClassOfService = "silver"
		}
		if r.IntN(4) == 0 {
			tenant.TooLateToDeduplicate = configv1.TooLateToDeduplicate_TOO_LATE_TO_DEDUPLICATE_REJECT
		}
		var classes []*configv1.ClassOfService
		for _, name := range []string{"gold", "silver"} {
			if r.IntN(7) > 0 { // else it is gone
				classes = append(classes, simulatedClass(r, name))
			}
		}
		made[n] = catalogFor(t, n, tenant, classes...)
		return made[n]
	}
}

func simulatedClass(r *rand.Rand, name string) *configv1.ClassOfService {
	currency := "EUR"
	if r.IntN(8) == 0 {
		currency = "GBP"
	}
	in := func(n int) *money.Money { return &money.Money{CurrencyCode: currency, Units: int64(n)} }
	c := &configv1.ClassOfService{Name: "tenants/acme/classesOfService/" + name}
	if r.IntN(8) > 0 {
		c.DataSafeguard = &configv1.DataSafeguardOption{Limit: in(20 + 10*r.IntN(5)), TimeZone: "Europe/Berlin", RenewalDay: 1 + int32(r.IntN(3))}
		thresholds("50%", "80%")(c.DataSafeguard)
		for _, t := range c.GetDataSafeguard().GetAlertThresholds() {
			if t.GetAmount() != nil {
				t.GetAmount().CurrencyCode = currency
			}
		}
		if r.IntN(2) == 0 {
			c.DataSafeguard.SecondNotice = in(30 + r.IntN(50))
		}
	}
	if r.IntN(8) > 0 {
		o := &configv1.OverspendSafeguardOption{CurrencyCode: currency, RenewalDay: 1 + int32(r.IntN(28))}
		if r.IntN(2) == 0 {
			o.DefaultLimit = in(10 + r.IntN(30))
			if r.IntN(2) == 0 {
				o.DefaultState = turnedOn
			}
		}
		if r.IntN(3) == 0 {
			o.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
		}
		if r.IntN(3) == 0 {
			o.SecondNotice = in(30)
		}
		c.OverspendSafeguard = o
	}
	if r.IntN(8) > 0 {
		c.PaymentSafeguard = &configv1.PaymentSafeguardOption{Limit: in(30 + 10*r.IntN(5)), TimeZone: "Pacific/Auckland"}
		if r.IntN(2) == 0 {
			c.PaymentSafeguard.PerPaymentLimit = in(5 + r.IntN(20))
		}
	}
	return c
}

// simulatedNumber is one of a few, the first of them most often.
func simulatedNumber(r *rand.Rand) string { return fmt.Sprintf("4477%02d", r.IntN(1+r.IntN(6))) }

func drawEvent(r *rand.Rand, earlier []*event.Event, now time.Time) *event.Event {
	e := &event.Event{
		// Ids of the last hours only are among earlier: those of another day differ by their time.
		ID:     fmt.Sprintf("e-%d-%s", len(earlier), now.Format(time.RFC3339Nano)),
		Source: "simulation", Type: "usage.charged", Tenant: "acme", Time: now, Subject: simulatedNumber(r),
	}
	switch n := r.IntN(40); {
	case n < 6:
		e.Type, e.Data = "subscriber.activated", drawActivation(r)
		if r.IntN(3) == 0 { // usage was faster
			e.Time = now.Add(-time.Duration(r.IntN(300)) * time.Second)
		}
	case n < 7:
		e.Type, e.Data = "subscriber.terminated", &eventv1.SubscriberTerminated{}
	case n < 9:
		e.Type, e.Data = "subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: simulatedNumber(r)}
	case n < 11:
		e.Type, e.Data = "subscriber.cos_changed", &eventv1.SubscriberClassOfServiceChanged{ClassOfService: []string{"gold", "silver"}[r.IntN(2)]}
	case n < 12:
		e.Type, e.Data = []string{"subscriber.suspended", "subscriber.resumed"}[r.IntN(2)], &eventv1.SubscriberStatusChanged{}
	case n < 13:
		e.Type, e.Data = "subscriber.sim_swapped", &eventv1.SubscriberSimSwapped{NewImsi: fmt.Sprintf("23415099999%04d", r.IntN(10000))}
	case n < 16:
		e.Source, e.Type, e.Data = ChargeSource, "command.change", drawChange(r)
	case n < 18:
		e.Source, e.Type, e.Data = ChargeSource, "command.charge", &controlv1.ChargeCommand{Amount: units(fmt.Sprint(r.IntN(25)))}
	case n < 19:
		e.Source, e.Type, e.Data = ChargeSource, "command.reapply", &controlv1.ReapplyCommand{ClassOfService: "gold"}
	default:
		e.Data = drawUsage(r, e, earlier, now)
	}
	return e
}

// drawFewCalls is drawEvent for histories in which each subscriber's are one list: a call that comes again behind 16 others
// is another.
func drawFewCalls(r *rand.Rand, earlier []*event.Event, now time.Time) *event.Event {
	for {
		if e := drawEvent(r, earlier, now); !event.IsCommand(e.Type) || r.IntN(4) == 0 {
			return e
		}
	}
}

func drawActivation(r *rand.Rand) *eventv1.SubscriberActivated {
	a := &eventv1.SubscriberActivated{ClassOfService: "gold", Imsi: "234150999999999", Language: "en"}
	if r.IntN(4) == 0 {
		a.ClassOfService = "silver"
	}
	if r.IntN(2) == 0 {
		a.Contact = &eventv1.Contact{Name: "Ada", Phone: "447700900123"}
	}
	if r.IntN(3) == 0 {
		a.Options = append(a.Options, &eventv1.InitialOption{Option: overspend, State: turnedOn, CurrentLimit: units("15"), RenewalDay: int32(r.IntN(29)), Spent: units(fmt.Sprint(r.IntN(20)))})
	}
	return a
}

func drawChange(r *rand.Rand) *controlv1.ChangeCommand {
	c := &controlv1.ChangeCommand{Option: eventv1.Safeguard_Option(1 + r.IntN(3))}
	if r.IntN(3) == 0 {
		day := int32(r.IntN(30))
		c.RenewalDay = &day
	}
	if r.IntN(2) == 0 {
		c.State = eventv1.Safeguard_State(r.IntN(5))
	}
	if c.GetOption() == overspend {
		switch r.IntN(4) {
		case 0:
			c.CurrentLimit = units(fmt.Sprint(r.IntN(40) - 1))
		case 1:
			c.NextLimit = units(fmt.Sprint(r.IntN(40)))
		case 2:
			c.CurrentLimit, c.State = units(fmt.Sprint(r.IntN(40))), turnedOn
		case 3:
			alertsAt(percent(int32(r.IntN(120))), &eventv1.Threshold{Amount: units("7")})(c)
		}
	}
	return c
}

func drawUsage(r *rand.Rand, e *event.Event, earlier []*event.Event, now time.Time) *eventv1.UsageCharged {
	u := &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: r.IntN(4) > 0, OutOfBundle: r.IntN(3) == 0, ThirdParty: r.IntN(4) == 0,
		Net: units(fmt.Sprint(1 + r.IntN(25))),
	}
	switch r.IntN(8) {
	case 0: // a refund
		u.Net = units(fmt.Sprint(-1 - r.IntN(25)))
		u.Corrects = &eventv1.Correction{Id: fmt.Sprint("before-", r.IntN(20)), Time: timestamppb.New(now.Add(-time.Duration(r.IntN(200)) * time.Hour))}
		if n := len(earlier); n > 0 && r.IntN(2) == 0 { // of a charge, if it is one
			u.Corrects.Id, u.Corrects.Source = earlier[r.IntN(n)].ID, ChargeSource
		}
		if r.IntN(2) == 0 {
			u.Corrects.Amount = units(fmt.Sprint(r.IntN(50)))
		}
	case 1: // late
		e.Time = now.Add(-time.Duration(r.IntN(100)) * time.Hour)
	case 2: // ahead
		e.Time = now.Add(time.Duration(r.IntN(600)) * time.Second)
	case 3:
		u.Net.CurrencyCode = "GBP"
	case 4:
		u.Blocked = r.IntN(2) == 0
	}
	return u
}
