package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func compiled(t testing.TB, n *configv1.Notification) *Rule {
	t.Helper()
	r, err := Compile(FromProto(n, table.Channels))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var march = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func of(name string, e event.Event) *event.Event {
	e.Type, e.Tenant, e.Source, e.Subject, e.Time = name, "acme", "billing", "account/1", march
	return &e
}

func due(name, document string, units int64) *event.Event {
	return of(name, event.Event{ID: name + document, Data: &eventv1.DocumentChanged{
		Document: &eventv1.Document{Id: document, DueAmount: &money.Money{CurrencyCode: "EUR", Units: units}},
	}})
}

func paid(documents ...string) *event.Event {
	return of("payment.processed", event.Event{ID: "p", Data: &eventv1.PaymentChanged{Payment: &eventv1.Payment{Documents: documents}}})
}

// Which states an event concerns, and what it is to each.
func TestMatch_NamesTheStatesOfAnEvent(t *testing.T) {
	const invoice = `"event_types": ["invoice.delivered", "document.created"], "filter": "data.document.due_amount.units > 0", "key": "data.document.id", `
	by := func(types, filter, key string) string {
		return invoice + fmt.Sprintf(`"delayed": {"days": 1, "cancelled_by": {"event_types": [%s], "filter": %q, "key": %q}}`, types, filter, key)
	}
	document := by(`"document.*"`, "data.document.due_amount.units == 0", "data.document.id")
	for name, c := range map[string]struct {
		trigger string
		event   *event.Event
		want    string
	}{
		"a match":                          {document, due("invoice.delivered", "a", 5), "a 0"},
		"no match":                         {document, due("invoice.delivered", "a", 0), ""},
		"what cancels":                     {document, due("document.balance_changed", "a", 0), "a 1"},
		"what renews":                      {document, due("document.balance_changed", "a", 3), "a 2"},
		"what matches does not renew":      {document, due("document.created", "a", 5), "a 0"},
		"what is of both and matches not":  {document, due("document.created", "a", 0), "a 1"},
		"a list of keys, each once":        {by(`"payment.processed"`, "", "data.payment.documents"), paid("b", "a", "b"), "b 1, a 1"},
		"an empty list":                    {by(`"payment.processed"`, "", "data.payment.documents"), paid(), ""},
		"other data renews nothing":        {by(`"payment.processed"`, "data.payment.amount.units > 0", "data.payment.documents"), paid("a"), ""},
		"what fails is no match":           {by(`"payment.processed"`, "", "data.payment.documents[1]"), paid("a"), "failed"},
		"without a key there is one state": {`"event_types": ["payment.*"], "absence": {"for": "60s"}`, paid("a"), " 0"},
		"a match of one key and a cancel of others": {
			`"event_types": ["payment.processed"], "key": "data.payment.documents[0]", "delayed": {"cancelled_by": {"event_types": ["payment.processed"], "key": "data.payment.documents"}}`,
			paid("a", "b", "a"), "a 0, b 1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := compiled(t, written(t, c.trigger, ""))
			matches, _, _ := NewIndex([]*Rule{r}).Match(c.event)
			var got []string
			for _, m := range matches {
				for _, k := range m.States {
					got = append(got, fmt.Sprintf("%s %d", k.Key, k.Role))
				}
				if m.Err != nil {
					got = append(got, "failed")
				}
			}
			if strings.Join(got, ", ") != c.want {
				t.Errorf("states %q, want %q", got, c.want)
			}
		})
	}
}

// The fold of a rule on states in memory, as a dry run has them: the same functions as live.
func TestRule_FoldsOnMemory(t *testing.T) {
	r := compiled(t, written(t, `"event_types": ["invoice.delivered"], "key": "data.document.id", "delayed": {"days": 2, "at": "09:00", "time_zone": "Europe/Berlin",
		"cancelled_by": {"event_types": ["document.balance_changed"], "filter": "data.document.due_amount.units == 0", "key": "data.document.id"}}`, ""))
	x := NewIndex([]*Rule{r})
	states := map[string]kind.State{}
	var got []string
	for _, e := range []*event.Event{
		due("invoice.delivered", "a", 5), due("invoice.delivered", "b", 7), due("document.balance_changed", "a", 0), due("document.balance_changed", "b", 4),
	} {
		matches, _, _ := x.Match(e)
		for _, k := range matches[0].States {
			state, result := r.Apply(states[k.Key], e, k.Role, At{Now: march, Time: e.Time, Offset: 7})
			if states[k.Key] = state; len(result.Firings) > 0 {
				t.Errorf("fires %v with an event", result.Firings)
			}
			for _, h := range result.Held {
				got = append(got, fmt.Sprintf("%s: %d of %s", k.Key, h.Reason, h.Set.ID))
			}
		}
	}
	for _, key := range []string{"a", "b"} {
		state := states[key]
		at, pending := state.Due()
		if !pending {
			continue
		}
		_, result := r.Fire(state, at, nil)
		for _, f := range result.Firings {
			e, err := Held(nil, "acme", "account/1", f.Set, f.Event)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s: %s, %s of %s open %d", key, f.Name, e.Type, e.ID, e.Data.(*eventv1.DocumentChanged).GetDocument().GetDueAmount().GetUnits()))
		}
	}
	want := []string{fmt.Sprintf("a: %d of invoice.delivereda", kind.Cancelled), "b: 2026-03-03T08:00:00.000Z, invoice.delivered of invoice.deliveredb open 4"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A day on a paper is that of the tenant's zone, an instant one of the rule's.
func TestApply_DaysOfDates(t *testing.T) {
	newYork, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	night := time.Date(2026, 3, 4, 3, 30, 0, 0, time.UTC)
	for from, want := range map[string]string{
		"data.document.due_date": "2026-03-03T08:00:00Z", // it is the 3rd in New York
		"data.package.renewal":   "2026-03-04T08:00:00Z", // and the 4th in Berlin
	} {
		e := of("invoice.delivered", event.Event{Data: &eventv1.DocumentChanged{Document: &eventv1.Document{DueDate: timestamppb.New(night)}}})
		if strings.HasPrefix(from, "data.package") {
			e = of("package.renewed", event.Event{Data: &eventv1.PackageChanged{Package: &eventv1.AccountPackage{Renewal: timestamppb.New(night)}}})
		}
		for at, want := range map[string]string{"09:00": want, "": strings.NewReplacer("03T08:00", "02T23:00", "04T08:00", "04T03:30").Replace(want)} {
			r := compiled(t, written(t, fmt.Sprintf(`"event_types": [%q], "delayed": {"at": %q, "time_zone": "Europe/Berlin", "from": %q}`, e.Type, at, from), ""))
			s, _ := r.Apply(kind.State{}, e, kind.Matches, At{Now: march, Time: march, Zone: newYork})
			if at, _ := s.Due(); at.Format(time.RFC3339) != want {
				t.Errorf("from %s it is due at %s, want %s", from, at.Format(time.RFC3339), want)
			}
		}
	}
	late := time.Date(2026, 3, 3, 23, 30, 0, 0, time.UTC) // the 4th in Berlin
	e := of("invoice.delivered", event.Event{Data: &eventv1.DocumentChanged{Document: &eventv1.Document{DueDate: timestamppb.New(late)}}})
	r := compiled(t, written(t, `"event_types": ["invoice.delivered"], "delayed": {"at": "09:00", "time_zone": "Europe/Berlin", "from": "data.document.due_date"}`, ""))
	s, _ := r.Apply(kind.State{}, e, kind.Matches, At{Now: march, Time: march})
	if at, _ := s.Due(); at.Format(time.RFC3339) != "2026-03-03T08:00:00Z" {
		t.Errorf("of a tenant without a zone it is due at %s", at)
	}
}
