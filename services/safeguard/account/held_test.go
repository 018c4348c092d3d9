package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// waits lets usage of unknown numbers wait for half a minute.
func waits(p *partition) {
	p.tenant.UnknownGrace = durationpb.New(30 * time.Second)
	p.configures(full())
}

// later moves the clock.
func (p *partition) later(d time.Duration) { p.now = p.now.Add(d) }

func at(t time.Time) func(*event.Event) {
	return func(e *event.Event) { e.Time = t }
}

func TestHeld_UsageOfANumberThatIsNotActivated(t *testing.T) {
	begun := []string{"activated 0/50 ACTIVATION", "payment activated 0/300 ACTIVATION"}
	run(t, []story{
		{"it is counted, in its order, when its activation comes", func(p *partition) {
			waits(p)
			begin := p.now
			p.uses("39")
			p.uses("1")
			p.later(29 * time.Second)
			p.uses("10")
			p.activates(at(begin))
		}, append(begun, "alert 80% at 40 40/50 USAGE", "reached 50/50 USAGE blocked")},
		{"what comes again while it waits, or was counted, counts once", func(p *partition) {
			waits(p)
			e := p.uses("40")
			p.append(e)
			p.activates()
			p.append(e)
			p.uses("9")
		}, append(begun, "alert 80% at 40 40/50 USAGE")},
		{"another event under an id that waits is refused", func(p *partition) {
			waits(p)
			e := *p.uses("40")
			e.Data = &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: units("41")}
			p.append(&e)
			p.activates()
		}, append([]string{"rejected ID_REUSED"}, append(begun, "alert 80% at 40 40/50 USAGE")...)},
		{"it is rejected when the number is not activated", func(p *partition) {
			waits(p)
			p.uses("40")
			p.uses("1")
			p.later(time.Minute)
			p.ticks()
		}, []string{"rejected SUBSCRIBER_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN"}},
		{"what was rejected after its wait may be sent again", func(p *partition) {
			waits(p)
			begin := p.now
			e := p.uses("40")
			p.later(30 * time.Second)
			p.activates(at(begin))
			p.append(e)
		}, append([]string{"rejected SUBSCRIBER_UNKNOWN"}, append(begun, "alert 80% at 40 40/50 USAGE")...)},
		{"usage from before the activation is rejected then", func(p *partition) {
			waits(p)
			p.uses("40")
			p.later(time.Second)
			p.activates()
		}, append([]string{"rejected BEFORE_ACTIVATION"}, begun...)},
		{"what can't be counted is rejected with its reason, the rest is counted, and both may be sent again", func(p *partition) {
			waits(p)
			e := p.uses("40", with(func(u *eventv1.UsageCharged) { u.Net.CurrencyCode = "GBP" }))
			p.uses("40")
			p.activates()
			p.append(e)
		}, append([]string{"rejected CURRENCY_MISMATCH"}, append(begun, "alert 80% at 40 40/50 USAGE", "rejected CURRENCY_MISMATCH")...)},
		{"an activation that is refused leaves it waiting", func(p *partition) {
			waits(p)
			p.uses("40")
			p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "silver"})
			p.activates()
		}, append([]string{"rejected CLASS_OF_SERVICE_UNKNOWN"}, append(begun, "alert 80% at 40 40/50 USAGE")...)},
		{"a tenant may activate such numbers with a default class", func(p *partition) {
			p.tenant.DefaultClassOfService = "gold"
			waits(p)
			p.uses("40", on("2026-03-02T08:00"))
			p.later(time.Minute)
			p.ticks()
			p.uses("10")
		}, append(begun, "alert 80% at 40 40/50 USAGE", "reached 50/50 USAGE blocked")},
		{"a default class that is not configured rejects", func(p *partition) {
			p.tenant.DefaultClassOfService = "silver"
			waits(p)
			p.uses("40")
			p.later(time.Minute)
			p.ticks()
		}, []string{"rejected CLASS_OF_SERVICE_UNKNOWN"}},
		{"usage of a number that was terminated waits for the next activation, as a change of the SIM is published", func(p *partition) {
			waits(p)
			p.activates()
			p.later(time.Second)
			p.terminates()
			p.forget()
			p.later(time.Second)
			begin := p.now
			e := p.uses("40")
			p.append(e)
			p.later(time.Second)
			p.activates(at(begin))
			p.append(e)
		}, append(begun, "alert 80% at 40 40/50 USAGE")},
		{"usage of a number that was terminated is rejected where it is not activated again", func(p *partition) {
			waits(p)
			p.activates()
			p.terminates()
			p.forget()
			e := p.uses("40")
			p.later(30 * time.Second)
			p.ticks()
			p.works()
			p.append(e)
			p.later(30 * time.Second)
			p.ticks()
		}, []string{"rejected SUBSCRIBER_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN"}},
		{"usage goes on waiting when the mark of the one before is forgotten", func(p *partition) {
			waits(p)
			p.activates()
			p.terminates()
			p.forget()
			p.later(24*time.Hour - time.Second)
			begin := p.now
			p.uses("40")
			p.later(2 * time.Second)
			p.ticks()
			p.works()
			p.activates(at(begin))
		}, append(begun, "alert 80% at 40 40/50 USAGE")},
		{"a default class takes what a terminated number uses after that, and nothing from before", func(p *partition) {
			p.tenant.DefaultClassOfService = "gold"
			waits(p)
			p.activates()
			p.later(time.Minute)
			p.terminates()
			p.forget()
			p.uses("1", at(p.now.Add(-time.Second)))
			p.uses("40", at(p.now.Add(time.Second)))
			p.later(30 * time.Second)
			p.ticks()
		}, append([]string{"rejected BEFORE_ACTIVATION"}, append(begun, "alert 80% at 40 40/50 USAGE")...)},
		{"a default class takes nothing that is all from before the termination", func(p *partition) {
			p.tenant.DefaultClassOfService = "gold"
			waits(p)
			p.activates()
			p.later(time.Minute)
			p.terminates()
			p.forget()
			p.uses("1", at(p.now.Add(-time.Second)))
			p.later(30 * time.Second)
			p.ticks()
		}, []string{"rejected SUBSCRIBER_UNKNOWN"}},
		{"a change finds no subscriber while usage waits", func(p *partition) {
			waits(p)
			p.uses("1")
			p.changes(data, day(2))
			p.reapplies("gold")
		}, []string{"refused SUBSCRIBER_NOT_FOUND", "refused SUBSCRIBER_NOT_FOUND"}},
		{"calls and lifecycle events do not wait, and find no subscriber", func(p *partition) {
			waits(p)
			p.uses("1")
			p.charges("1")
			p.publishes("subscriber.suspended", &eventv1.SubscriberStatusChanged{})
			p.terminates()
		}, []string{"rejected SUBSCRIBER_UNKNOWN", "rejected SUBSCRIBER_UNKNOWN", "refused UNKNOWN"}},
	})
}

func TestHeld_IsBounded(t *testing.T) {
	p := newPartition(t)
	waits(p)
	for range 200 {
		p.uses("0.1", with(func(u *eventv1.UsageCharged) { u.Service = strings.Repeat("x", 1000) }))
	}
	p.works()
	s, _ := p.record()
	if n := len(s.Encode(nil)); n > maxHeld+100 || len(s.held) < 50 {
		t.Errorf("%d bytes, %d events", n, len(s.held))
	}
	if len(p.out)+len(s.held) != 200 {
		t.Errorf("%d rejected, %d wait", len(p.out), len(s.held))
	}
	p.activates()
	p.works()
	after, _ := p.record()
	if got, want := after.Options[spend.Data].Count.Spent, spend.Amount(len(s.held))*spend.Unit/10; got != want {
		t.Errorf("spent %s, want %s", got, want)
	}
}

// The log record is rejected as it came, as if it had been so at once.
func TestHeld_RejectedAsItCame(t *testing.T) {
	rejected := func(grace time.Duration) []string {
		p := newPartition(t)
		p.tenant.UnknownGrace = durationpb.New(grace)
		p.configures(full())
		p.uses("40", func(e *event.Event) { e.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" })
		due := p.now.Add(grace)
		p.later(2 * time.Minute)
		p.ticks()
		p.works()
		if len(p.out) != 1 {
			t.Fatalf("%d outcomes", len(p.out))
		}
		r := p.out[0]
		if !r.Time.Equal(due) {
			t.Errorf("rejected at %s, want %s", r.Time, due)
		}
		parts := []string{r.Topic, string(r.Key), fmt.Sprintf("%x", r.Value)}
		for _, h := range r.Headers {
			if h.Key != event.HeaderDetail { // that it waited is another story
				parts = append(parts, h.Key+"="+string(h.Value))
			}
		}
		return parts
	}
	if diff := cmp.Diff(rejected(0), rejected(30*time.Second)); diff != "" {
		t.Error(diff)
	}
}

func TestHeld_OutcomesHaveTheirOwnCause(t *testing.T) {
	p := newPartition(t)
	waits(p)
	first, second := p.uses("40"), p.uses("10")
	p.activates()
	p.works()
	for i, cause := range map[int]*event.Event{2: first, 3: second} {
		e, err := event.Decode(p.out[i].Value)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Data.(*eventv1.Safeguard).GetCause().GetEvent().GetId(); got != cause.ID {
			t.Errorf("%s is caused by %s, want %s", line(t, p.out[i]), got, cause.ID)
		}
	}
	if e, _ := event.Decode(p.out[2].Value); e.ID != event.Derive(first.Identity(), "data", "alert", "80%").String() {
		t.Errorf("its id is %s", e.ID)
	}
}
