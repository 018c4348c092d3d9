package account

import (
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestTransfer_HoldsWhatComesMeanwhile(t *testing.T) {
	run(t, []story{
		{"what comes is held, and follows the subscriber in its order", func(p *partition) {
			whole(p)
			p.uses("39")
			p.forget()
			p.underWay(msisdn, newNumber)
			e := p.uses("1")
			p.append(e)
			p.uses("10")
			p.worksOnlyItself()
			p.arrives()
			p.append(e)
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE", "447700900555 reached 50/50 USAGE blocked"}},
		{"what comes is held, and counted here where the move is refused", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.uses("39")
			p.forget()
			p.underWay(msisdn, newNumber)
			e := p.uses("1")
			p.append(e)
			p.worksOnlyItself()
			p.arrives()
			p.append(e)
		}, []string{"rejected TARGET_ACTIVE", "alert 80% at 40 40/50 USAGE"}},
		{"a call has to be made again", func(p *partition) {
			whole(p)
			p.underWay(msisdn, newNumber)
			p.commands("ref-1", &controlv1.ChargeCommand{Amount: units("1")}, "command.charge")
			p.changes(data, day(15))
			p.worksOnlyItself()
			p.arrives()
		}, []string{"refused TRANSFER_PENDING", "refused TRANSFER_PENDING"}},
		{"a period that ends is renewed once, where the subscriber is", func(p *partition) {
			whole(p)
			p.uses("30")
			p.at("2026-03-31T23:59")
			p.underWay(msisdn, newNumber)
			p.at("2026-04-01T00:01")
			p.ticks()
			p.worksOnlyItself()
			p.arrives()
		}, []string{"447700900555 renewed 0/50 RENEWAL", "447700900555 overspend renewed 0/- RENEWAL", "447700900555 payment renewed 0/300 RENEWAL"}},
		{"or where it stays", func(p *partition) {
			whole(p)
			p.publishes("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold", Options: []*eventv1.InitialOption{{Option: data, RenewalDay: 20}, {Option: overspend, RenewalDay: 20}, {Option: payment, RenewalDay: 20}}}, as(newNumber))
			p.uses("30")
			p.at("2026-03-31T23:59")
			p.forget()
			p.underWay(msisdn, newNumber)
			p.at("2026-04-01T00:01")
			p.uses("40")
			p.ticks()
			p.worksOnlyItself()
			p.forget()
			p.arrives()
		}, []string{
			"rejected TARGET_ACTIVE", "renewed 0/50 RENEWAL", "overspend renewed 0/- RENEWAL", "payment renewed 0/300 RENEWAL", "alert 80% at 40 40/50 USAGE",
		}},
		{"a termination that comes between ends the subscriber where it stays", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.forget()
			p.underWay(msisdn, newNumber)
			p.terminates()
			p.worksOnlyItself()
			p.arrives()
		}, []string{"rejected TARGET_ACTIVE", "deactivated 0/50 TERMINATION", "payment deactivated 0/300 TERMINATION"}},
		{"who leaves makes room for who comes later", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.uses("30")
			p.uses("39", as(newNumber))
			p.forget()
			p.underWay(newNumber, thirdNumber)
			p.later(time.Second)
			p.underWay(msisdn, newNumber)
			p.arrives()
			p.uses("10", as(newNumber))
			p.uses("1", as(thirdNumber))
		}, []string{"447700900555 alert 80% at 40 40/50 USAGE", "447700900777 alert 80% at 40 40/50 USAGE"}},
		{"two that want each other's number keep their own", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.uses("39")
			p.uses("38", as(newNumber))
			p.forget()
			p.underWay(msisdn, newNumber)
			p.later(time.Second)
			p.underWay(newNumber, msisdn)
			p.arrives()
			p.uses("1")
			p.uses("2", as(newNumber))
		}, []string{"rejected TARGET_ACTIVE", "rejected TARGET_ACTIVE", "alert 80% at 40 40/50 USAGE", "447700900555 alert 80% at 40 40/50 USAGE"}},
		{"three in a circle keep their own, at one time or another", func(p *partition) {
			whole(p)
			p.activates(as(newNumber))
			p.activates(as(thirdNumber))
			p.forget()
			p.underWay(thirdNumber, msisdn)
			p.underWay(msisdn, newNumber)
			p.later(time.Second)
			p.underWay(newNumber, thirdNumber)
			p.arrives()
			p.uses("40")
			p.uses("40", as(newNumber))
			p.uses("40", as(thirdNumber))
		}, []string{
			"rejected TARGET_ACTIVE", "rejected TARGET_ACTIVE", "rejected TARGET_ACTIVE",
			"alert 80% at 40 40/50 USAGE", "447700900555 alert 80% at 40 40/50 USAGE", "447700900777 alert 80% at 40 40/50 USAGE",
		}},
		{"who has moved on when the word comes is found there", func(p *partition) {
			whole(p)
			p.uses("39")
			p.forget()
			p.underWay(msisdn, newNumber)
			first := p.between
			p.between = nil
			p.uses("1")
			p.worksOnlyItself()
			for _, r := range first { // taken over; the word of it is on its way
				r.Partition, r.Offset = 0, int64(len(p.Records))
				p.Records = append(p.Records, r)
			}
			p.worksOnlyItself()
			word := p.between
			p.between = nil
			p.moves(newNumber, thirdNumber)
			p.works()
			p.between = word
			p.arrives()
		}, []string{"447700900777 alert 80% at 40 40/50 USAGE"}},
	})
}

func TestTransfer_HoldsNoMoreThanFits(t *testing.T) {
	p := newPartition(t)
	whole(p)
	p.underWay(msisdn, newNumber)
	p.out = nil
	for range 1000 {
		p.uses("0.01")
	}
	p.worksOnlyItself()
	s, _ := p.record()
	held, rejected := len(s.transferOut.held), 0
	for _, r := range p.out {
		if reason, ok := r.Header(event.HeaderReason); ok && string(reason) == "TRANSFER_PENDING" {
			rejected++
		}
	}
	if held < 100 || held+rejected != 1000 {
		t.Errorf("%d are held, %d rejected", held, rejected)
	}
	p.arrives()
	if there, _ := p.recordOf(newNumber); there.Options[spend.Data].Count.Spent != spend.Amount(held)*spend.Unit/100 {
		t.Errorf("%d were held, %s counted", held, there.Options[spend.Data].Count.Spent)
	}
}
