package trigger

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestFirings_AreInTheOrderOfNotificationActionAndFiring(t *testing.T) {
	p := newPartition(t, "events.ordered")
	steps := stateful(t, "steps", `"trigger": {"event_types": ["balance.changed"], "thresholds": {"field": "data.bucket.remaining", "before": "data.before.remaining", "values": [{"units": 5}, {"units": 10}]}}`)
	steps.Actions = []*configv1.Action{action("z", "crm"), action("a", "crm")}
	p.revise(1, steps, rule("all", []string{"balance.*"}, "", action("notify", "crm")), rule("zero", []string{"balance.*"}, "", action("notify", "crm")))
	e := balance("b-1", 12)
	e.Data.(*eventv1.BalanceChanged).Before = &eventv1.UsageBucket{}
	p.append(e)
	p.run()
	var got []string
	for _, d := range p.deliveries() {
		got = append(got, fmt.Sprintf("%s/%s %s %d", d.Notification, d.Action, d.Firing, d.Sequence))
	}
	want := []string{"all/notify  1", "steps/a 5 2", "steps/a 10 3", "steps/z 5 4", "steps/z 10 5", "zero/notify  6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecisions_OfWhatIsHeldBack(t *testing.T) {
	keyed := `"key": "data.document.id", "delayed": {"days": 1, "from": "data.document.due_date"}`
	large := invoice("i", "a", epoch)
	large.Data.(*eventv1.DocumentChanged).Document.Source = strings.Repeat("x", 1024)
	other := balance("b", 5)
	other.Data.(*eventv1.BalanceChanged).Bucket.ActualAmount = &money.Money{CurrencyCode: "USD", Units: 1}
	for name, c := range map[string]struct {
		rule   string
		events []*event.Event
		want   []string
	}{
		"a key of more than 1 KiB": {
			`"trigger": {"event_types": ["invoice.delivered"], "key": "data.document.id", "delayed": {}}`, []*event.Event{invoice("i", strings.Repeat("x", 1025), epoch)},
			[]string{"KEY_TOO_LARGE i : the key is longer than 1 KiB"},
		},
		"one such key among others cancels the others": {
			unlessPaid, []*event.Event{invoice("i", "a", epoch), payment("p", strings.Repeat("x", 1025), "a")},
			[]string{"KEY_TOO_LARGE p : the key is longer than 1 KiB", `CANCELLED i a: event "p" of "billing" cancelled it`},
		},
		"a key that fails": {
			`"trigger": {"event_types": ["invoice.delivered"], "key": "data.document.payment_references[0]", "delayed": {}}`, []*event.Event{invoice("i", "a", epoch)},
			[]string{"FILTER_ERROR i : evaluate key: index out of bounds: 0"},
		},
		"a filter of what cancels that fails": {
			`"trigger": {"event_types": ["invoice.delivered"], "delayed": {"cancelled_by": {"event_types": ["payment.processed"], "filter": "data.payment.documents[1] == 'a'"}}}`,
			[]*event.Event{payment("p", "a")}, []string{"FILTER_ERROR p : evaluate filter of cancelled_by: index out of bounds: 1"},
		},
		"no number":               {below10, []*event.Event{balance("b", math.NaN())}, []string{"VALUE_INVALID b : the value has too many digits, or is no number"}},
		"too many digits":         {below10, []*event.Event{balance("b", 1e40)}, []string{"VALUE_INVALID b : the value has too many digits, or is no number"}},
		"no date to count from":   {`"trigger": {"event_types": ["invoice.delivered"], ` + keyed + `}`, []*event.Event{invoice("i", "a", epoch)}, []string{"FROM_ABSENT i a: the date to count from is absent"}},
		"more than a timer holds": {unlessPaid, []*event.Event{large}, []string{"EVENT_TOO_LARGE i a: a timer holds at most 1024 bytes of an event's data"}},
		"another currency": {
			`"trigger": {"event_types": ["balance.changed"], "crossing": {"field": "data.bucket.actual_amount", "up": {"currency_code": "EUR"}}}`, []*event.Event{other},
			[]string{"OTHER_CURRENCY b : the value is of another currency than what it is compared with"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.revise(1, stateful(t, "rule", c.rule))
			p.append(c.events...)
			p.run()
			p.want(nil, c.want)
		})
	}
}

// One event changes 200 states at most. The first in order of codes fire, the others stay as they are, and one Decision names
// the first of them.
func TestStateFull_LeavesTheOthersAsTheyAre(t *testing.T) {
	p := newPartition(t, "events.ordered")
	var all []*configv1.Notification
	for i := range fold.MaxRules + 30 {
		all = append(all, stateful(t, fmt.Sprintf("n%03d", i), `"cap": {"n": 1, "window": "60s"}, "trigger": {"event_types": ["balance.changed"]}`))
	}
	p.revise(1, all...)
	p.append(balance("b-1", 1))
	p.run()
	ds := p.deliveries()
	if len(ds) != fold.MaxRules || ds[fold.MaxRules-1].Notification != "n199" {
		t.Errorf("%d deliveries", len(ds))
	}
	decided := p.decisions()
	if len(decided) != 1 || decided[0].GetNotification() != "n200" || decided[0].GetCount() != 30 || decided[0].GetReason().String() != "REASON_STATE_FULL" {
		t.Errorf("decisions %v", decided)
	}
	if keys := p.records("n2"); keys != nil {
		t.Errorf("records %q", keys)
	}
}

// renamed is a store whose values have another text of the same length, as if a type of the catalog were gone.
type renamed struct {
	state.Store
	from, to string
}

func (r renamed) Load(ctx context.Context, p state.Partition, w state.Watermark, keys []string) ([][]byte, error) {
	values, err := r.Store.Load(ctx, p, w, keys)
	for i := range values {
		values[i] = bytes.ReplaceAll(bytes.Clone(values[i]), []byte(r.from), []byte(r.to))
	}
	return values, err
}

// What a timer holds may be of a type that is gone when it is due: that is decided, and nothing stops. What cancels such a timer
// is decided as ever.
func TestTimer_OfATypeThatIsGoneIsADecision(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.revise(1, stateful(t, "paid", unlessPaid))
	p.append(invoice("i-1", "a", epoch), invoice("i-2", "b", epoch))
	p.run()
	p.store = renamed{p.store, "invoice.delivered", "invoice.forgotten"}
	p.append(payment("p-1", "b"))
	p.until(epoch.AddDate(0, 0, 20))
	p.append(usage("u-1", "44", 1, epoch))
	p.run()
	p.want(nil, []string{
		`CANCELLED i-2 b: event "p-1" of "billing" cancelled it`,
		`RENDER_ERROR i-1 a: what a timer holds is cut short, or of a type that is not known`,
	})
	for _, r := range p.out {
		if r.Topic == "rejected" {
			t.Errorf("rejected %v", r)
		}
	}
	for i, want := range []string{"i-2", "i-1"} {
		if d := p.decisions()[i]; d.GetEvent().GetType() != "invoice.forgotten" || d.GetEvent().GetSubject() != "account/1" || d.GetEvent().GetId() != want {
			t.Errorf("decided %v", d)
		}
	}
}
