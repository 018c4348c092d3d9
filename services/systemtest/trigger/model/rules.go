package model

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Rule is a rule in plain numbers: both the notification and what the model does follow from it.
type Rule struct {
	code, kind      string
	Exists, Active  bool
	ordered         bool
	keyed           bool
	field, currency string

	up, down, rearm int64
	list            []int64

	days, at, repeatDays, repeatTimes int64 // at in seconds, -1 for the event's own
	from                              bool
	cancelledBy                       string // "document" where it is paid, or "payment" that names it

	absence         int64 // seconds
	capN, capWindow int64 // in seconds
}

// Codes of the rules.
var Codes = []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}

// RuleAt is a rule as a revision has it: from one to the next rules are edited, deactivated, deleted and made anew.
func RuleAt(revision int64, code string) Rule {
	n := int64(slices.Index(Codes, code))
	r := Rule{
		code: code, Exists: revision > 0 && (revision+n)%6 != 0, Active: (revision+n)%4 != 1, ordered: true, at: -1,
	}
	edited := revision%3 == 0
	switch code {
	case "a":
		r.kind, r.keyed, r.capN, r.capWindow = "event", true, 2, 40
	case "b":
		r.kind, r.field, r.up, r.down, r.rearm = "crossing", "used", 12, 4, 2
		if edited {
			r.up = 9
		}
	case "c":
		r.kind, r.field, r.currency, r.up, r.down, r.keyed = "crossing", "actual_amount", "EUR", 6, 3, true
	case "d":
		r.kind, r.field = "depleted", "remaining"
		if edited {
			r.field = "used"
		}
	case "e":
		r.kind, r.field = "restored", "remaining"
		r.keyed = edited
	case "f":
		r.kind, r.field, r.list, r.rearm = "values", "used", []int64{3, 8, 15}, 1
		if edited {
			r.list, r.rearm = []int64{5, 8, 18}, 0
		}
	case "g":
		r.kind, r.field, r.keyed, r.list, r.capN, r.capWindow = "percent", "used", true, []int64{50, 75, 90, 100}, 3, 3600
		// Without order a repeat is planned again under its id where no state knows it: so this one's always stands.
		r.Exists, r.ordered = revision > 0, false
	case "h":
		r.kind, r.keyed, r.days, r.at, r.cancelledBy = "delayed", true, 0, 9*3600, "document"
		if edited {
			r.days, r.at, r.repeatDays, r.repeatTimes = 0, 2*3600+1800, 1, 2
		}
	case "i":
		r.kind, r.keyed, r.days, r.from, r.cancelledBy, r.capN, r.capWindow = "delayed", true, -1, true, "payment", 1, 7200
	case "j":
		r.kind, r.absence, r.Exists = "absence", 90, revision > 0 // else a repeat finds out the same silence, as above
		if edited {
			r.absence = 600
		}
	case "k":
		r.kind, r.capN, r.capWindow, r.repeatDays, r.repeatTimes = "delayed", 5, 86400*3, 2, 3
	}
	return r
}

func (r Rule) timed() bool { return r.kind == "delayed" || r.kind == "absence" }

func (r Rule) endpoint() string { return []string{"crm", "app"}[len(r.list)%2] }

// sort is what a state is of.
func (r Rule) sort() string {
	kind := map[string]string{"depleted": "sign", "restored": "sign"}[r.kind]
	if kind == "" {
		kind = r.kind
	}
	return fmt.Sprint(kind, r.keyed, r.field, r.from)
}

// Notification is the rule as it is written.
func (r Rule) Notification() *configv1.Notification {
	n := &configv1.Notification{
		Name: "tenants/acme/notifications/" + r.code, Version: 1, Active: r.Active, Trigger: &configv1.Trigger{EventTypes: []string{"balance.changed"}},
		Actions: []*configv1.Action{{
			Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/" + r.endpoint()}},
		}},
	}
	text, key := "{{.UsageBucket.Used}}", "data.bucket.id"
	t := n.Trigger
	field, before := "data.bucket."+r.field, "data.before."+r.field
	whole := func(n int64) *money.Money { return &money.Money{Units: n, CurrencyCode: r.currency} }
	var values []*money.Money
	var percent []float64
	for _, v := range r.list {
		values, percent = append(values, whole(v)), append(percent, float64(v))
	}
	switch r.kind {
	case "crossing":
		t.Kind = &configv1.Trigger_Crossing{Crossing: &configv1.Crossing{Field: field, Before: before, Up: whole(r.up), Down: whole(r.down), Rearm: whole(r.rearm)}}
	case "depleted":
		t.Kind = &configv1.Trigger_Depleted{Depleted: &configv1.SignChange{Field: field, Before: before}}
	case "restored":
		t.Kind = &configv1.Trigger_Restored{Restored: &configv1.SignChange{Field: field, Before: before}}
	case "values":
		t.Kind = &configv1.Trigger_Thresholds{Thresholds: &configv1.Thresholds{Field: field, Before: before, Values: values}}
		if r.rearm > 0 {
			t.GetThresholds().Rearm = whole(r.rearm)
		}
	case "percent":
		t.Kind = &configv1.Trigger_Thresholds{Thresholds: &configv1.Thresholds{Field: field, Before: before, Of: "data.bucket.granted", Percent: percent}}
	case "delayed":
		t.EventTypes, text, key = []string{"invoice.delivered"}, "{{.Invoice.ExternalNumber}}", "data.document.id"
		d := &configv1.Delayed{Days: int32(r.days), TimeZone: "Europe/Berlin"}
		if r.at >= 0 {
			d.At = fmt.Sprintf("%02d:%02d", r.at/3600, r.at/60%60)
		}
		if r.from {
			d.From, d.TimeZone = "data.document.due_date", "" // the tenant's
		}
		if r.repeatTimes > 0 {
			d.Repeat = &configv1.Repeat{Days: int32(r.repeatDays), Times: int32(r.repeatTimes)}
		}
		switch r.cancelledBy {
		case "document":
			d.CancelledBy = &configv1.CancelledBy{EventTypes: []string{"document.balance_changed"}, Filter: "data.document.due_amount.units == 0", Key: "data.document.id"}
		case "payment":
			d.CancelledBy = &configv1.CancelledBy{EventTypes: []string{"payment.processed"}, Key: "data.payment.documents"}
		}
		t.Kind = &configv1.Trigger_Delayed{Delayed: d}
	case "absence":
		t.EventTypes, text = []string{"usage.charged", "subscriber.*"}, "{{.Core.EventName}}"
		t.Kind = &configv1.Trigger_Absence{Absence: &configv1.Absence{For: durationpb.New(time.Duration(r.absence) * time.Second)}}
	}
	if r.keyed {
		t.Key = key
	}
	if r.capN > 0 {
		n.Cap = &configv1.Cap{N: int32(r.capN), Window: durationpb.New(time.Duration(r.capWindow) * time.Second)}
	}
	ordered := r.ordered && !r.timed()
	n.Actions[0].Ordered = &ordered
	n.Actions[0].Parameters = []*configv1.Parameter{{Name: "text", Template: text}}
	return n
}

// concern is a state that an event concerns.
type concern struct{ key, role string }

func (r Rule) concerns(e *event.Event) (out []concern) {
	key := func(of string) string {
		if !r.keyed {
			return ""
		}
		return of
	}
	switch data := e.Data.(type) {
	case *eventv1.BalanceChanged:
		if !r.timed() {
			out = append(out, concern{key(data.GetBucket().GetId()), "matches"})
		}
	case *eventv1.DocumentChanged:
		switch {
		case r.kind != "delayed":
		case e.Type == "invoice.delivered":
			out = append(out, concern{key(data.GetDocument().GetId()), "matches"})
		case r.cancelledBy == "document" && data.GetDocument().GetDueAmount().GetUnits() == 0:
			out = append(out, concern{key(data.GetDocument().GetId()), "cancels"})
		case r.cancelledBy == "document":
			out = append(out, concern{key(data.GetDocument().GetId()), "renews"})
		}
	case *eventv1.PaymentChanged:
		for _, id := range data.GetPayment().GetDocuments() {
			if r.cancelledBy == "payment" && !slices.Contains(out, concern{id, "cancels"}) {
				out = append(out, concern{id, "cancels"})
			}
		}
	case *eventv1.SubscriberTerminated:
		if r.kind == "absence" {
			out = append(out, concern{"", "cancels"})
		}
	default:
		if r.kind == "absence" {
			out = append(out, concern{"", "matches"})
		}
	}
	return out
}

// read is what a rule compares.
func (r Rule) read(e *event.Event) (value, before *ratio, of int64) {
	data := e.Data.(*eventv1.BalanceChanged)
	from := func(b *eventv1.UsageBucket) *ratio {
		switch {
		case b == nil:
			return nil
		case r.field == "used":
			return whole(int64(b.GetUsed()))
		case r.field == "remaining":
			return whole(int64(b.GetRemaining()))
		case b.GetActualAmount() == nil:
			return nil
		}
		return &ratio{b.GetActualAmount().GetUnits(), 1, b.GetActualAmount().GetCurrencyCode()}
	}
	return from(data.GetBucket()), from(data.GetBefore()), int64(data.GetBucket().GetGranted())
}

// textOf is what the rules of an event's type make of it.
func textOf(e *event.Event) string {
	switch data := e.Data.(type) {
	case *eventv1.BalanceChanged:
		return strconv.Itoa(int(data.GetBucket().GetUsed()))
	case *eventv1.DocumentChanged:
		return data.GetDocument().GetExternalNumber()
	}
	return e.Type
}

const long = 1100 // more than a key or a timer holds

func tooLarge(e *event.Event) bool {
	switch data := e.Data.(type) {
	case *eventv1.DocumentChanged:
		return len(data.GetDocument().GetSource()) >= long
	case *eventv1.UsageCharged:
		return len(data.GetService()) >= long
	}
	return false
}

// Draw draws an event for the rules, of one of some subjects.
func Draw(r *rand.Rand, subjects int, now time.Time) *event.Event {
	e := &event.Event{
		Source: "simulation", Tenant: "acme", Subject: fmt.Sprintf("44%d", r.IntN(subjects)),
		Time: now.Add(-time.Duration(r.IntN(1+r.IntN(200_000))) * time.Millisecond).Truncate(time.Millisecond),
	}
	large := func() string {
		if r.IntN(12) > 0 {
			return ""
		}
		return strings.Repeat("x", long)
	}
	document := func() *eventv1.Document {
		d := &eventv1.Document{
			Id: fmt.Sprintf("d%d", r.IntN(3)), ExternalNumber: fmt.Sprint(r.IntN(1000)), Source: large(),
			DueAmount: &money.Money{CurrencyCode: "EUR", Units: int64(r.IntN(3))},
		}
		if r.IntN(6) > 0 {
			d.DueDate = timestamppb.New(now.Truncate(time.Hour).Add(time.Duration(r.IntN(72)) * time.Hour))
		}
		return d
	}
	switch r.IntN(10) {
	case 0, 1:
		e.Type, e.Data = "invoice.delivered", &eventv1.DocumentChanged{Document: document()}
	case 2:
		e.Type, e.Data = "document.balance_changed", &eventv1.DocumentChanged{Document: document()}
	case 3:
		p := &eventv1.Payment{}
		for range r.IntN(4) {
			p.Documents = append(p.Documents, fmt.Sprintf("d%d", r.IntN(3)))
		}
		e.Type, e.Data = "payment.processed", &eventv1.PaymentChanged{Payment: p}
	case 4:
		e.Type, e.Data = "usage.charged", &eventv1.UsageCharged{Service: large()}
		switch r.IntN(6) {
		case 0:
			e.Type, e.Data = "subscriber.terminated", &eventv1.SubscriberTerminated{}
		case 1:
			e.Type, e.Data = "subscriber.suspended", &eventv1.SubscriberStatusChanged{}
		}
	default:
		bucket := func() *eventv1.UsageBucket {
			b := &eventv1.UsageBucket{Used: float64(r.IntN(21)), Remaining: float64(r.IntN(7) - 3), Granted: float64(r.IntN(3) * 10)}
			if r.IntN(5) > 0 {
				b.ActualAmount = &money.Money{CurrencyCode: []string{"EUR", "EUR", "EUR", "USD"}[r.IntN(4)], Units: int64(r.IntN(9))}
			}
			return b
		}
		data := &eventv1.BalanceChanged{Bucket: bucket()}
		if data.Bucket.Id = fmt.Sprintf("b%d", r.IntN(2)); r.IntN(40) == 0 {
			data.Bucket.Id = strings.Repeat("b", long)
		}
		if r.IntN(2) == 0 {
			data.Before = bucket()
		}
		e.Type, e.Data = "balance.changed", data
	}
	return e
}
