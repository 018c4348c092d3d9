package account

import (
	"fmt"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Words for the options and states of stories.
const (
	data      = eventv1.Safeguard_OPTION_DATA
	overspend = eventv1.Safeguard_OPTION_OVERSPEND
	payment   = eventv1.Safeguard_OPTION_PAYMENT

	turnedOn    = eventv1.Safeguard_STATE_ACTIVE
	off         = eventv1.Safeguard_STATE_INACTIVE
	offForMonth = eventv1.Safeguard_STATE_TEMPORARILY_INACTIVE
	offForGood  = eventv1.Safeguard_STATE_PERMANENTLY_INACTIVE
)

// whole begins with a subscriber of the full class; outcomes until here are not looked at.
func whole(p *partition, edits ...func(*configv1.ClassOfService)) {
	p.configures(full(edits...))
	p.activates()
	p.forget()
}

// overspends appends usage outside of the bundle, pays a payment to a third party.
func (p *partition) overspends(amount string, edits ...func(*event.Event)) *event.Event {
	return p.publishes("usage.charged", &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_VOICE, OutOfBundle: true, Net: units(amount)}, edits...)
}

func (p *partition) pays(amount string, edits ...func(*event.Event)) *event.Event {
	return p.publishes("usage.charged", &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_CONTENT, ThirdParty: true, Net: units(amount)}, edits...)
}

// commands appends one under a reference. One that is refused is found out before, on the record as it is, and must
// leave that alone.
func (p *partition) commands(reference string, data proto.Message, name string) {
	p.t.Helper()
	p.works()
	before, exists := p.record()
	e := &event.Event{ID: reference, Source: ChargeSource, Type: name, Tenant: "acme", Subject: msisdn, Time: p.now, Data: data}
	t := turn{
		cause: cause{event: e, identity: e.Identity()}, at: p.now, eventTime: p.now, arrived: p.now, tenant: "acme", msisdn: msisdn,
		catalog: p.catalogs[p.revision], exists: exists, decision: decision{sub: before},
	}
	// Timers that are due fire before.
	if exists {
		t.sub = renewed(before, "acme", t.catalog, p.now)
	}
	refusal, err := t.command()
	outcomes := len(p.out)
	p.append(e)
	p.works()
	switch {
	case err != nil:
		p.refusals = append(p.refusals, "refused "+fault.ReasonOf(err))
	case refusal != "":
		p.refusals = append(p.refusals, "refused "+refusal)
	default:
		return
	}
	after, _ := p.record()
	if diff := cmp.Diff(before, after, compareRecords); diff != "" && len(p.out) == outcomes {
		p.t.Errorf("a refused call changed the record:\n%s", diff)
	}
}

func (p *partition) changes(o eventv1.Safeguard_Option, edits ...func(*controlv1.ChangeCommand)) {
	p.t.Helper()
	p.events++
	c := &controlv1.ChangeCommand{Option: o}
	for _, edit := range edits {
		edit(c)
	}
	p.commands(fmt.Sprintf("change-%d", p.events), c, "command.change")
}

func (p *partition) charges(amount string) {
	p.t.Helper()
	p.events++
	p.commands(fmt.Sprintf("charge-%d", p.events), &controlv1.ChargeCommand{Amount: units(amount)}, "command.charge")
}

func (p *partition) reapplies(class string) {
	p.t.Helper()
	p.events++
	p.commands(fmt.Sprintf("reapply-%d", p.events), &controlv1.ReapplyCommand{ClassOfService: class}, "command.reapply")
}

func to(s eventv1.Safeguard_State) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.State = s }
}

func currentLimit(amount string) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.CurrentLimit = units(amount) }
}

func nextLimit(amount string) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.NextLimit = units(amount) }
}

func day(n int32) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.RenewalDay = &n }
}

func alertsAt(all ...*eventv1.Threshold) func(*controlv1.ChangeCommand) {
	return func(c *controlv1.ChangeCommand) { c.AlertThresholds = &eventv1.ThresholdList{Thresholds: all} }
}

func percent(n int32) *eventv1.Threshold { return &eventv1.Threshold{Percent: n} }
