package safeguard

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func TestCommands_AnsweredAlikeAtAnyReplica(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full())
		f.outcomes(2 * crowd)
		for i := range 6 {
			number := subject(i)
			one, err := first.charge(number, "p-1", "45")
			two, errTwo := second.charge(number, "p-1", "45")
			if err != nil || errTwo != nil || !one.GetAllowed() || safeguardtest.Amount(one.GetSpent()) != "45" || safeguardtest.Amount(one.GetPerPaymentLimit()) != "50" {
				f.Fatalf("%v, %v; %v, %v", one, err, two, errTwo)
			}
			if diff := cmp.Diff(one.String(), two.String()); diff != "" {
				f.Errorf("the same charge again: %s", diff)
			}
			if _, err := second.charge(number, "p-1", "44"); status.Code(err) != codes.AlreadyExists || fault.ReasonOf(err) != "ID_REUSED" {
				f.Errorf("another charge under its reference: %v", err)
			}
			refused, err := second.charge(number, "p-2", "50.01")
			if err != nil || refused.GetAllowed() || refused.GetRefusal() != account.RefusalPayment || safeguardtest.Amount(refused.GetSpent()) != "45" {
				f.Errorf("above what one payment may be: %v, %v", refused, err)
			}
			for n := range 5 {
				if m, err := first.charge(number, fmt.Sprint("more-", n), "50"); err != nil || !m.GetAllowed() {
					f.Errorf("%v, %v", m, err)
				}
			}
			refused, err = second.charge(number, "p-3", "6")
			if err != nil || refused.GetRefusal() != account.RefusalMonth || safeguardtest.Amount(refused.GetSpent()) != "295" {
				f.Errorf("above the month's limit: %v, %v", refused, err)
			}
			if last, err := second.charge(number, "p-4", "5"); err != nil || !last.GetAllowed() || safeguardtest.Amount(last.GetSpent()) != "300" {
				f.Errorf("to exactly the limit: %v, %v", last, err)
			}
			for _, r := range []*replica{first, second} {
				m, err := r.enforcement.Authorize(f.ctx, &optionsv1.AuthorizeRequest{Name: named(number), Use: usesOption(spend.Payment)})
				if err != nil || m.GetReason() != account.ReasonLimitReached {
					f.Errorf("%v, %v", m, err)
				}
			}

			asked := &optionsv1.ChangeOverspendSafeguardRequest{
				Name: named(number) + "/options/overspendSafeguard", TransactionReference: "o-1", State: eventv1.Safeguard_STATE_ACTIVE,
				CurrentLimit: safeguardtest.Units("10"), NextLimit: safeguardtest.Units("20"), RenewalDay: proto.Int32(15),
				AlertThresholds: &eventv1.ThresholdList{Thresholds: []*eventv1.Threshold{{Percent: 50}}},
			}
			var answers []string
			for _, r := range []*replica{second, first, second} {
				m, err := answeredBy(f, func() (*optionsv1.OverspendSafeguard, error) {
					return r.subscription.ChangeOverspendSafeguard(f.ctx, asked)
				})
				if err != nil {
					f.Fatal(err)
				}
				answers = append(answers, m.String())
				if m.GetState() != eventv1.Safeguard_STATE_ACTIVE || safeguardtest.Amount(m.GetCurrentLimit()) != "10" || safeguardtest.Amount(m.GetNextLimit()) != "20" || m.GetRenewalDay() != 15 ||
					safeguardtest.Amount(m.GetAlertThresholds()[0].GetAmount()) != "5" || m.GetPeriodEnd().AsTime().Day() != 15 {
					f.Errorf("changed to %v", m)
				}
			}
			if answers = slices.Compact(answers); len(answers) != 1 {
				f.Errorf("one change, answered as %v", answers)
			}
			asked.TransactionReference, asked.RenewalDay = "o-2", proto.Int32(16)
			if _, err := second.subscription.ChangeOverspendSafeguard(f.ctx, asked); status.Code(err) != codes.FailedPrecondition || fault.ReasonOf(err) != account.ReasonDayChanged {
				f.Errorf("a second day in one period: %v", err)
			}
		}
	})
}

// Charges go on while one replica is killed, each repeated under its reference until it has an answer: what is counted
// in the end is what was allowed, once each.
func TestCharge_CountedOnceWhileItsOwnerIsKilled(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full(func(c *configv1.ClassOfService) { c.PaymentSafeguard.Limit = safeguardtest.Units("1000000") }))
		f.outcomes(2 * crowd)
		var working sync.WaitGroup
		halfway := make(chan struct{}, crowd)
		const rounds = 30
		for i := range crowd {
			working.Go(func() {
				for n := range rounds {
					if n == rounds/3 {
						halfway <- struct{}{}
					}
					// Whichever replica: one of them ends in the midst of calls.
					replicas := []*replica{first, second}
					for try := n; ; try++ {
						m, err := replicas[try%2].enforcement.Charge(f.ctx, &optionsv1.ChargeRequest{
							Name: named(subject(i)), TransactionReference: fmt.Sprintf("p-%d", n), Amount: safeguardtest.Units("1"),
						})
						if err == nil && m.GetAllowed() {
							break
						}
						if err == nil || fault.KindOf(err) != fault.Unavailable || f.ctx.Err() != nil {
							f.Errorf("charge %d of %s: %v, %v", n, subject(i), m, err)
							return
						}
					}
				}
			})
		}
		for range crowd / 2 {
			select {
			case <-halfway:
			case <-f.ctx.Done():
				f.Fatal("no charge is answered")
			}
		}
		first.kill()
		working.Wait()
		for i := range crowd {
			m, err := answeredBy(f, func() (*optionsv1.PaymentSafeguard, error) {
				return second.inventory.GetPaymentSafeguard(f.ctx, &optionsv1.GetPaymentSafeguardRequest{Name: named(subject(i)) + "/options/paymentSafeguard"})
			})
			if err != nil || safeguardtest.Amount(m.GetSpent()) != strconv.Itoa(rounds) {
				f.Errorf("%s shows %v, %v", subject(i), m, err)
			}
		}
		second.stop()
	})
}

// While no replica has taken over from one that is gone, reads come from the store, and show how old they are.
func TestReads_FromTheStoreWhileTheOwnerIsAway(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full())
		f.publish(charges("first", "45")...)
		f.outcomes(3 * crowd)
		for i := range crowd {
			first.shows(subject(i))
		}
		first.kill()
		for i := range crowd {
			m, err := answeredBy(f, func() (*optionsv1.DataSafeguard, error) {
				return second.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(subject(i))})
			})
			if err != nil || safeguardtest.Amount(m.GetSpent()) != "45" || m.GetStaleness() == nil {
				f.Errorf("%s: %v, %v", subject(i), m, err)
			}
			a, err := answeredBy(f, func() (*optionsv1.AuthorizeResponse, error) {
				return second.enforcement.Authorize(f.ctx, &optionsv1.AuthorizeRequest{Name: named(subject(i)), Use: usesNow(roamingUsage())})
			})
			if err != nil || a.GetDecision() != optionsv1.AuthorizeResponse_DECISION_ALLOW || a.GetReason() != "" {
				f.Errorf("%s: %v, %v", subject(i), a, err)
			}
		}
		if n := second.counted(`tollgate_safeguard_reads_total{from="store"}`); n == 0 {
			f.Error("nothing was read from the store")
		}
	})
}

func TestWatch_SeesEachChangeThroughAnyReplica(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full())
		f.outcomes(2 * crowd)
		for i := range crowd {
			first.shows(subject(i))
			second.shows(subject(i))
		}
		watched := func(r *replica, number string) optionsv1.OptionInventoryService_WatchClient {
			s, err := r.inventory.Watch(f.ctx, &optionsv1.WatchRequest{Name: named(number)})
			if err != nil {
				f.Fatal(err)
			}
			return s
		}
		replicas := []*replica{first, second}
		both := []optionsv1.OptionInventoryService_WatchClient{watched(first, subject(1)), watched(second, subject(1))}
		until := func(i int, enough func(*optionsv1.WatchResponse) bool) {
			f.Helper()
			for {
				m, err := both[i].Recv()
				switch {
				case status.Code(err) == codes.Unavailable && f.ctx.Err() == nil: // the partition moves: ask again
					both[i] = watched(replicas[i], subject(1))
				case err != nil:
					f.Fatal(err)
				case enough(m):
					return
				}
			}
		}
		for i := range both {
			until(i, func(m *optionsv1.WatchResponse) bool {
				return safeguardtest.Amount(m.GetOptions().GetDataSafeguard().GetSpent()) == "0"
			})
		}
		f.publish(charges("first", "50")...)
		for i := range both {
			until(i, func(m *optionsv1.WatchResponse) bool {
				return m.GetOptions().GetDataSafeguard().GetReached() && m.GetSequence() == m.GetOptions().GetDataSafeguard().GetSequence()
			})
		}
		f.publish(&event.Event{ID: "end", Source: "test", Tenant: "acme", Subject: subject(1), Type: "subscriber.terminated", Data: &eventv1.SubscriberTerminated{}})
		for i := range both {
			until(i, (*optionsv1.WatchResponse).GetGone)
		}
		first.stop()
		for i, s := range both { // the partition moves from, or the caller's replica ends
			_, err := s.Recv()
			for err == nil {
				_, err = s.Recv()
			}
			if status.Code(err) != codes.Unavailable && i == 0 {
				f.Errorf("the stream at a replica that stops ends with %v", err)
			}
			if i == 0 && second.f.ctx.Err() == nil {
				break // the other may have the partition, and goes on
			}
		}
		second.stop()
	})
}

func TestStreams_AnswerByTagAndEndAtADrain(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full())
		f.outcomes(2 * crowd)
		for i := range crowd {
			first.shows(subject(i))
			second.shows(subject(i))
		}
		s, err := first.enforcement.ChargeStream(f.ctx)
		if err != nil {
			f.Fatal(err)
		}
		for i := range crowd {
			req := &optionsv1.ChargeRequest{Name: named(subject(i)), TransactionReference: "p", Amount: safeguardtest.Units("1")}
			if i == 7 {
				req.TransactionReference = ""
			}
			if err := s.Send(&optionsv1.ChargeStreamRequest{Tag: uint64(100 + i), Request: req}); err != nil {
				f.Fatal(err)
			}
		}
		if err := s.CloseSend(); err != nil {
			f.Fatal(err)
		}
		answers := map[uint64]*optionsv1.ChargeStreamResponse{}
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				f.Fatal(err)
			}
			answers[m.GetTag()] = m
		}
		for i := range crowd {
			m := answers[uint64(100+i)]
			if i == 7 {
				if codes.Code(m.GetError().GetCode()) != codes.InvalidArgument || len(m.GetError().GetDetails()) != 2 {
					f.Errorf("a request without a reference: %v", m)
				}
			} else if !m.GetResponse().GetAllowed() {
				f.Errorf("%d: %v", i, m)
			}
		}
		reading, err := first.enforcement.AuthorizeStream(f.ctx)
		if err != nil {
			f.Fatal(err)
		}
		for i := range crowd {
			if err := reading.Send(&optionsv1.AuthorizeStreamRequest{Tag: uint64(i), Request: &optionsv1.AuthorizeRequest{Name: named(subject(i)), Use: usesNow(roamingUsage())}}); err != nil {
				f.Fatal(err)
			}
		}
		for range crowd {
			if m, err := reading.Recv(); err != nil || m.GetResponse().GetDecision() != optionsv1.AuthorizeResponse_DECISION_ALLOW {
				f.Errorf("%v, %v", m, err)
			}
		}
		first.stop() // with the stream open
		if _, err := reading.Recv(); status.Code(err) != codes.Unavailable {
			f.Errorf("the stream ended with %v", err)
		}
	})
}
