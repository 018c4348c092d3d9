package trigger

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// leftOut asks for one decision of an event, FAN_OUT, with the first that is left out and how many.
func (p *partition) leftOut(id, notification string, count int64) {
	p.t.Helper()
	var found []*triggerv1.Decision
	for _, d := range p.decisions() {
		if d.GetEvent().GetId() == id {
			found = append(found, d)
		}
	}
	if len(found) != 1 || found[0].GetReason() != triggerv1.Decision_REASON_FAN_OUT || found[0].GetNotification() != notification || found[0].GetCount() != count {
		p.t.Errorf("of %s is decided %v; want %d left out from %s on", id, found, count, notification)
	}
}

// What is decided of an event counts as what is planned: beyond the bound filters that failed, and what a cap held back, are left
// out with the rest.
func TestFanOut_DecisionsCount(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(snapshot(1, func(s *configv1.Snapshot) {
		fanned(maxPlanned/20, 20)(s)
		for i := range 3 {
			s.Notifications = append(s.Notifications, rule(fmt.Sprint("x", i), []string{"usage.charged"}, "1 / (data.net.units - 1) > 0", action("notify", "crm")))
		}
		s.Notifications = append(s.Notifications, capped(rule("z", []string{"usage.charged"}, "", action("notify", "crm")), 1))
	}))
	p.append(usage("u-1", "44", 1, epoch), usage("u-2", "44", 1, epoch))
	p.run()
	if n := len(p.deliveries()); n != 2*maxPlanned {
		t.Errorf("planned %d", n)
	}
	p.leftOut("u-1", "x0", 4) // three that failed, and what z fires
	p.leftOut("u-2", "x0", 4) // three that failed, and what the cap of z holds back
}

// A timer leads to no more than an event does.
func TestFanOut_OfATimer(t *testing.T) {
	p := newPartition(t, "events.ordered")
	p.configure(mailing(&configv1.EmailRecipients{Roles: []string{"all"}}, func(s *configv1.Snapshot, a *configv1.Action) {
		for i := range maxPlanned + 50 {
			s.Users = append(s.Users, &configv1.User{Name: fmt.Sprintf("tenants/acme/users/u%04d", i), Address: fmt.Sprintf("u%d@example.com", i), Roles: []string{"all"}})
		}
		n := stateful(t, "paid", unlessPaid)
		a.GetEmail().Subject, a.GetEmail().Text, a.Parameters, a.Ordered = "Pay", "Pay.", nil, nil
		n.Actions = []*configv1.Action{a}
		s.Notifications = []*configv1.Notification{n}
	}))
	p.append(invoice("i-1", "a", epoch))
	p.until(epoch.AddDate(0, 0, 20))
	p.run()
	planned := 0
	for _, r := range p.out {
		if r.Topic == email.Channel.Topic {
			planned++
		}
	}
	if planned != maxPlanned {
		t.Errorf("planned %d", planned)
	}
	p.leftOut("i-1", "paid", 50)
}

// States are bounded in bytes as they are in number: by the most that each may take.
func TestStateFull_InBytes(t *testing.T) {
	const most = 512 << 10
	p := newPartition(t, "events.ordered")
	var values []string
	for i := range 20 {
		values = append(values, fmt.Sprintf(`{"units": %d}`, i+1))
	}
	large := `"trigger": {"event_types": ["balance.changed"], "thresholds": {"field": "data.bucket.remaining", "before": "data.before.remaining", "values": [` + strings.Join(values, ",") + `]}}`
	var all []*configv1.Notification
	for i := range fold.MaxRules {
		all = append(all, stateful(t, fmt.Sprintf("n%03d", i), large))
	}
	p.revise(1, all...)
	e := balance("b-1", 1)
	e.Data.(*eventv1.BalanceChanged).Before = &eventv1.UsageBucket{}
	p.append(e)
	p.run()
	fired, decided := len(p.deliveries()), p.decisions()
	// Each has a head beside its state, of ids and timers: 3 KiB at most.
	if size := p.books[1].index.Stateful("acme", "n000").StateSize(); fired*size > most || (fired+1)*(size+3<<10) < most {
		t.Errorf("%d states of %d bytes were changed", fired, size)
	}
	if len(decided) != 1 || decided[0].GetReason() != triggerv1.Decision_REASON_STATE_FULL || int(decided[0].GetCount()) != fold.MaxRules-fired || decided[0].GetNotification() != fmt.Sprintf("n%03d", fired) {
		t.Errorf("decided %v", decided)
	}
}

// What came to nothing begins no state, and what a state was begun for is not begun again by what comes to nothing.
func TestState_IsNotBegunForNothing(t *testing.T) {
	due := `"trigger": {"event_types": ["invoice.delivered"], "key": "data.document.id", "delayed": {"days": 1, "from": "data.document.due_date"}}`
	for name, c := range map[string]struct {
		rule  string
		event *event.Event
	}{
		"no date to count from":     {due, invoice("i-1", "a", epoch)},
		"nothing that is cancelled": {unlessPaid, payment("p-1", "a")},
		"no value": {
			`"trigger": {"event_types": ["client.updated"], "depleted": {"field": "data.client.balance"}}`,
			&event.Event{ID: "c-1", Source: "crm", Type: "client.updated", Tenant: "acme", Subject: "client/1", Time: epoch, Data: &eventv1.ClientChanged{Client: &eventv1.Account{Id: "1"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPartition(t, "events.ordered")
			p.revise(1, stateful(t, "rule", c.rule))
			p.append(c.event)
			p.run()
			if keys := p.records("rule"); keys != nil {
				t.Errorf("records %q", keys)
			}
		})
	}
}
