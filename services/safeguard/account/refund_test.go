package account

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// of lets an event take back another; worth is what that was, "" where it is not given.
func of(id, at, worth string) func(*event.Event) {
	return with(func(u *eventv1.UsageCharged) {
		u.Corrects = &eventv1.Correction{Id: id, Time: timestamppb.New(moment(at))}
		if worth != "" {
			u.Corrects.Amount = units(worth)
		}
	})
}

func TestRefund_GivesBackNoMoreThanWasCounted(t *testing.T) {
	const at = "2026-03-02T09:00"
	run(t, []story{
		{"one refund under four ids gives back once", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			for range 4 {
				p.uses("-10", of("cdr-1", at, ""))
			}
			p.uses("10")
		}, []string{"released 40/50 REFUND", "rejected CORRECTS_EXCEEDED", "rejected CORRECTS_EXCEEDED", "rejected CORRECTS_EXCEEDED", "reached 50/50 USAGE blocked"}},
		{"a refund of more than the event was worth gives nothing back", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-500", of("cdr-1", at, "35"))
			p.uses("-35", of("cdr-1", at, "35"))
		}, []string{"rejected CORRECTS_EXCEEDED", "released 15/50 REFUND"}},
		{"parts of an event of known worth are given back up to it", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-20", of("cdr-1", at, "35"))
			p.uses("-10", of("cdr-1", at, ""))
			p.uses("-5.000000001", of("cdr-1", at, "100"))
			p.uses("-5", of("cdr-1", at, "35"))
			p.uses("-0.01", of("cdr-1", at, "35"))
		}, []string{"released 30/50 REFUND", "rejected CORRECTS_EXCEEDED", "rejected CORRECTS_EXCEEDED"}},
		{"one that gives its worth after one that did not comes too late", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-20", of("cdr-1", at, ""))
			p.uses("-10", of("cdr-1", at, "35"))
		}, []string{"released 30/50 REFUND", "rejected CORRECTS_EXCEEDED"}},
		{"other sources and other ids are other events", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-1", of("cdr-1", at, ""))
			p.uses("-1", of("cdr-2", at, ""))
			p.uses("-1", of("cdr-1", at, ""), with(func(u *eventv1.UsageCharged) { u.Corrects.Source = "roaming" }))
		}, []string{"released 49/50 REFUND"}},
		{"a source that is the refund's own is the same event", func(p *partition) {
			active(p)
			p.uses("-1", of("cdr-1", at, ""))
			p.uses("-1", of("cdr-1", at, ""), with(func(u *eventv1.UsageCharged) { u.Corrects.Source = "crm" }))
		}, []string{"rejected CORRECTS_EXCEEDED"}},
		{"a refund that is in no scope gives nothing back and is none", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-10", of("cdr-1", at, ""), with(func(u *eventv1.UsageCharged) { u.Roaming = false }))
			p.uses("-10", of("cdr-1", at, ""))
		}, []string{"released 40/50 REFUND"}},
		{"refunds of an earlier period are bounded too", func(p *partition) {
			active(p)
			p.at("2026-04-02T09:00")
			p.ticks()
			p.forget()
			p.uses("-10", of("cdr-1", at, ""))
			p.uses("-10", of("cdr-1", at, ""))
		}, []string{"rejected CORRECTS_EXCEEDED"}},
		{"the worth is money of the refund's currency", func(p *partition) {
			active(p)
			p.uses("-10", of("cdr-1", at, "-35"))
			p.uses("-10", of("cdr-1", at, "35"), with(func(u *eventv1.UsageCharged) { u.Corrects.Amount.CurrencyCode = "GBP" }))
			p.uses("-10", of("cdr-1", at, "35"), with(func(u *eventv1.UsageCharged) { u.Corrects.Amount.CurrencyCode = "" }))
			p.uses("-10", of("cdr-1", at, "-35"), with(func(u *eventv1.UsageCharged) { u.Corrects.Amount.CurrencyCode = "GBP" }))
		}, []string{"rejected AMOUNT_INVALID", "rejected CURRENCY_MISMATCH", "rejected CURRENCY_MISMATCH", "rejected AMOUNT_INVALID"}},
		{"what was given back before is its worth, whatever a later refund gives for it", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-20", of("cdr-1", at, "35"))
			p.uses("-10", of("cdr-1", at, "-35"))
			p.uses("-10", of("cdr-1", at, "-35"))
		}, []string{"released 30/50 REFUND", "rejected CORRECTS_EXCEEDED"}},
		{"after the window it is not known", func(p *partition) {
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-10", of("cdr-1", at, ""))
			p.at("2026-03-03T09:59")
			p.uses("-10", of("cdr-1", at, ""))
			p.at("2026-03-03T10:00")
			p.uses("-10", of("cdr-1", at, ""))
			p.uses("20")
		}, []string{"released 40/50 REFUND", "rejected CORRECTS_EXCEEDED", "reached 50/50 USAGE blocked"}},
		{"a longer window knows longer", func(p *partition) {
			p.tenant.DedupWindow = durationpb.New(35 * 24 * time.Hour)
			active(p)
			p.uses("50")
			p.forget()
			p.uses("-20", of("cdr-1", at, "35"))
			p.at("2026-03-28T09:00")
			p.uses("-16", of("cdr-1", at, "35"))
			p.uses("-15", of("cdr-1", at, "35"))
			p.uses("35")
		}, []string{"released 30/50 REFUND", "rejected CORRECTS_EXCEEDED", "reached 50/50 USAGE blocked"}},
		{"it is known behind a thousand other ids in segments", func(p *partition) {
			active(p)
			p.uses("-10", of("cdr-1", at, ""))
			for range 900 {
				p.uses("0.01")
			}
			p.uses("-10", of("cdr-1", at, ""))
		}, []string{"rejected CORRECTS_EXCEEDED"}},
		{"it goes along to another number", func(p *partition) {
			whole(p)
			p.uses("39")
			p.uses("-20", of("cdr-1", at, "35"))
			p.uses("-1", of("cdr-2", at, ""))
			p.moves(msisdn, newNumber)
			p.works()
			p.uses("-16", of("cdr-1", at, ""), as(newNumber))
			p.uses("-1", of("cdr-2", at, ""))
			p.uses("-15", of("cdr-1", at, ""))
		}, []string{"rejected CORRECTS_EXCEEDED", "rejected CORRECTS_EXCEEDED"}},
		{"usage that waits is bounded when it is counted", func(p *partition) {
			waits(p)
			p.uses("-10", of("cdr-1", at, ""))
			p.uses("-10", of("cdr-1", at, ""))
			p.activates()
		}, []string{"rejected CORRECTS_EXCEEDED", "activated 0/50 ACTIVATION", "payment activated 0/300 ACTIVATION"}},
		{"a charge is given back as often as there is something left of it", func(p *partition) {
			whole(p)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.pays("250")
			p.forget()
			for range 3 {
				p.pays("-20", ofCharge("ref-1", at))
			}
			p.pays("-10", ofCharge("ref-1", at))
			p.pays("-0.01", ofCharge("ref-1", at))
		}, []string{"payment released 280/300 REFUND", "rejected CORRECTS_EXCEEDED", "rejected CORRECTS_EXCEEDED"}},
		{"what was given back of a charge is known where the charge is not any more", func(p *partition) {
			whole(p)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("50")}, "command.charge")
			p.pays("250")
			p.at("2026-03-03T08:59")
			p.pays("-30", ofCharge("ref-1", at))
			p.at("2026-03-03T12:00")
			p.forget()
			p.pays("-50", ofCharge("ref-1", at))
			p.pays("-20", ofCharge("ref-1", at))
		}, []string{"rejected CORRECTS_EXCEEDED"}},
	})
}
