package safeguard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
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
	"github.com/tollgate/tollgate/services/safeguard/api"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// doors are the services of a replica.
type doors struct {
	catalog      optionsv1.OptionCatalogServiceClient
	inventory    optionsv1.OptionInventoryServiceClient
	subscription optionsv1.OptionSubscriptionServiceClient
	enforcement  optionsv1.EnforcementServiceClient
	audit        optionsv1.OptionAuditServiceClient
}

func newDoors(conn grpc.ClientConnInterface) doors {
	return doors{
		optionsv1.NewOptionCatalogServiceClient(conn), optionsv1.NewOptionInventoryServiceClient(conn),
		optionsv1.NewOptionSubscriptionServiceClient(conn), optionsv1.NewEnforcementServiceClient(conn), optionsv1.NewOptionAuditServiceClient(conn),
	}
}

// usesNow and usesOption are what an authorisation is asked for.
func usesNow(u *eventv1.UsageCharged) *optionsv1.AuthorizeRequest_Usage {
	return &optionsv1.AuthorizeRequest_Usage{Usage: u}
}

func usesOption(o spend.Option) *optionsv1.AuthorizeRequest_Option {
	return &optionsv1.AuthorizeRequest_Option{Option: account.OptionOnWire(o)}
}

func roamingUsage() *eventv1.UsageCharged {
	return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true}
}

func named(number string) string { return "tenants/acme/subscribers/" + number }

// counted is a metric of the replica, by its name and labels as they are exposed.
func (r *replica) counted(series string) float64 {
	r.f.Helper()
	req, err := http.NewRequestWithContext(r.f.ctx, http.MethodGet, "http://"+r.admin+"/metrics", nil)
	if err != nil {
		r.f.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		r.f.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.f.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				r.f.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// answeredBy calls until the answer is one: a partition may be on its way between replicas.
func answeredBy[Res any](f *fixture, call func() (Res, error)) (Res, error) {
	f.Helper()
	for {
		m, err := call()
		if fault.KindOf(err) != fault.Unavailable || f.ctx.Err() != nil {
			return m, err
		}
	}
}

func (r *replica) charge(number, reference, amount string) (*optionsv1.ChargeResponse, error) {
	return answeredBy(r.f, func() (*optionsv1.ChargeResponse, error) {
		return r.enforcement.Charge(r.f.ctx, &optionsv1.ChargeRequest{Name: named(number), TransactionReference: reference, Amount: safeguardtest.Units(amount)})
	})
}

func pence(m *optionsv1.ChargeRequest) *optionsv1.ChargeRequest {
	m.Amount.CurrencyCode = "GBP"
	return m
}

func TestEveryDoorNamesWhatIsWrong(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full(), &configv1.ClassOfService{Name: "tenants/acme/classesOfService/basic"})
		first, second := f.start(), f.start()
		f.configured()
		events := activations()
		events[0].Data = &eventv1.SubscriberActivated{ClassOfService: "basic"}
		f.publish(events...)
		f.told(2 * (crowd - 1)) // data and payment begin active
		bare, whole := subject(0), subject(1)
		data := func(number string) string { return named(number) + "/options/dataSafeguard" }
		overspend := func(number string) string { return named(number) + "/options/overspendSafeguard" }
		day := proto.Int32
		type asked = func(context.Context, doors) error
		var (
			change = func(m *optionsv1.ChangeDataSafeguardRequest) asked {
				return func(ctx context.Context, d doors) error {
					_, err := d.subscription.ChangeDataSafeguard(ctx, m)
					return err
				}
			}
			limit = func(m *optionsv1.ChangeOverspendSafeguardRequest) asked {
				return func(ctx context.Context, d doors) error {
					_, err := d.subscription.ChangeOverspendSafeguard(ctx, m)
					return err
				}
			}
			charge = func(m *optionsv1.ChargeRequest) asked {
				return func(ctx context.Context, d doors) error { _, err := d.enforcement.Charge(ctx, m); return err }
			}
			authorize = func(m *optionsv1.AuthorizeRequest) asked {
				return func(ctx context.Context, d doors) error { _, err := d.enforcement.Authorize(ctx, m); return err }
			}
			get = func(name string) asked {
				return func(ctx context.Context, d doors) error {
					_, err := d.inventory.GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{Name: name})
					return err
				}
			}
			catalog = func(name string) asked {
				return func(ctx context.Context, d doors) error {
					_, err := d.catalog.GetPaymentSafeguard(ctx, &optionsv1.GetPaymentSafeguardRequest{Name: name})
					return err
				}
			}
			watch = func(name string) asked {
				return func(ctx context.Context, d doors) error {
					s, err := d.inventory.Watch(ctx, &optionsv1.WatchRequest{Name: name})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				}
			}
			explain = func(name string) asked {
				return func(ctx context.Context, d doors) error {
					s, err := d.audit.Explain(ctx, &optionsv1.ExplainRequest{Name: name})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				}
			}
		)
		for _, test := range []struct {
			name   string
			ask    asked
			code   codes.Code
			reason string
			fields string // of its violations
		}{
			{"inventory: not a name", get("tenants/acme"), codes.InvalidArgument, api.ReasonName, "name"},
			{"inventory: another option's name", get(overspend(whole)), codes.InvalidArgument, api.ReasonName, "name"},
			{"inventory: nobody", get(data("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"inventory: not offered", get(data(bare)), codes.NotFound, account.ReasonNotOffered, ""},
			{"watch: nobody", watch(named("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"watch: not a name", watch("x"), codes.InvalidArgument, api.ReasonName, "name"},
			{"catalog: not a name", catalog(data(whole)), codes.InvalidArgument, api.ReasonName, "name"},
			{"catalog: no class", catalog("tenants/acme/classesOfService/none/options/paymentSafeguard"), codes.NotFound, api.ReasonClassAbsent, ""},
			{"catalog: not offered", catalog("tenants/acme/classesOfService/basic/options/paymentSafeguard"), codes.NotFound, account.ReasonNotOffered, ""},
			{"change: every fault at once", change(&optionsv1.ChangeDataSafeguardRequest{Name: "x", RenewalDay: day(29), State: 99}), codes.InvalidArgument, account.ReasonChange, "name transaction_reference renewal_day state"},
			{"change: nothing", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: "c"}), codes.InvalidArgument, account.ReasonChange, ""},
			{"change: a reference that is too long", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: strings.Repeat("x", 129), RenewalDay: day(2)}), codes.InvalidArgument, account.ReasonRequest, "transaction_reference"},
			{"change: day 0", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: "c", RenewalDay: day(0)}), codes.InvalidArgument, account.ReasonDay, "renewal_day"},
			{"change: nobody", change(&optionsv1.ChangeDataSafeguardRequest{Name: data("449999999999"), TransactionReference: "c", RenewalDay: day(2)}), codes.NotFound, account.ReasonNotFound, ""},
			{"change: not offered", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(bare), TransactionReference: "c", RenewalDay: day(2)}), codes.NotFound, account.ReasonNotOffered, ""},
			{"change: a state that the option has not", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: "c", State: eventv1.Safeguard_STATE_INACTIVE}), codes.FailedPrecondition, account.ReasonState, "state"},
			{"overspend: without a limit", limit(&optionsv1.ChangeOverspendSafeguardRequest{Name: overspend(whole), TransactionReference: "c", State: eventv1.Safeguard_STATE_ACTIVE}), codes.InvalidArgument, account.ReasonLimit, "current_limit"},
			{"overspend: limits below 0 and in no currency", limit(&optionsv1.ChangeOverspendSafeguardRequest{
				Name: overspend(whole), TransactionReference: "c", CurrentLimit: safeguardtest.Units("-1"), NextLimit: safeguardtest.Units("-2"),
			}), codes.InvalidArgument, account.ReasonAmount, "current_limit next_limit"},
			{"overspend: another currency", limit(&optionsv1.ChangeOverspendSafeguardRequest{
				Name: overspend(whole), TransactionReference: "c", CurrentLimit: pence(&optionsv1.ChargeRequest{Amount: safeguardtest.Units("1")}).GetAmount(),
			}), codes.InvalidArgument, account.ReasonCurrency, "current_limit"},
			{"overspend: a threshold that is none", limit(&optionsv1.ChangeOverspendSafeguardRequest{
				Name: overspend(whole), TransactionReference: "c", AlertThresholds: &eventv1.ThresholdList{Thresholds: []*eventv1.Threshold{{Percent: 5000}, {}}},
			}), codes.InvalidArgument, account.ReasonThreshold, "alert_thresholds.thresholds[0].percent alert_thresholds.thresholds[1]"},
			{"charge: every fault at once", charge(&optionsv1.ChargeRequest{Description: strings.Repeat("x", 257)}), codes.InvalidArgument, account.ReasonRequest, "name transaction_reference amount description"},
			{"charge: 0", charge(&optionsv1.ChargeRequest{Name: named(whole), TransactionReference: "c", Amount: safeguardtest.Units("0")}), codes.InvalidArgument, account.ReasonAmount, "amount"},
			{"charge: below 0", charge(&optionsv1.ChargeRequest{Name: named(whole), TransactionReference: "c", Amount: safeguardtest.Units("-1")}), codes.InvalidArgument, account.ReasonAmount, "amount"},
			{"charge: another currency", charge(pence(&optionsv1.ChargeRequest{Name: named(whole), TransactionReference: "c", Amount: safeguardtest.Units("1")})), codes.InvalidArgument, account.ReasonCurrency, "amount"},
			{"charge: nobody", charge(&optionsv1.ChargeRequest{Name: named("449999999999"), TransactionReference: "c", Amount: safeguardtest.Units("1")}), codes.NotFound, account.ReasonNotFound, ""},
			{"charge: not offered", charge(&optionsv1.ChargeRequest{Name: named(bare), TransactionReference: "c", Amount: safeguardtest.Units("1")}), codes.NotFound, account.ReasonNotOffered, ""},
			{"authorize: every fault at once", authorize(&optionsv1.AuthorizeRequest{Name: "x"}), codes.InvalidArgument, account.ReasonRequest, "name use"},
			{"authorize: nobody", authorize(&optionsv1.AuthorizeRequest{Name: named("449999999999"), Use: usesNow(roamingUsage())}), codes.NotFound, account.ReasonNotFound, ""},
			{"authorize: nobody, spelt with a plus", authorize(&optionsv1.AuthorizeRequest{Name: named("+449999999999"), Use: usesNow(roamingUsage())}), codes.NotFound, account.ReasonNotFound, ""},
			{"authorize: a number that is none", authorize(&optionsv1.AuthorizeRequest{Name: named("0044999"), Use: usesNow(roamingUsage())}), codes.InvalidArgument, api.ReasonName, "name"},
			{"authorize: an option that is not offered", authorize(&optionsv1.AuthorizeRequest{Name: named(bare), Use: usesOption(spend.Data)}), codes.NotFound, account.ReasonNotOffered, ""},
			{"explain: nobody", explain(named("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"explain: not a name", explain("x"), codes.InvalidArgument, api.ReasonName, "name"},
		} {
			for i, r := range []*replica{first, second} { // one of them has the partition, the other sends it on
				_, err := answeredBy(f, func() (struct{}, error) { return struct{}{}, test.ask(f.ctx, r.doors) })
				e, ok := errors.AsType[*fault.Error](err)
				if !ok || status.Code(err) != test.code || e.Reason != test.reason {
					f.Errorf("%s, at replica %d: %v", test.name, i, err)
					continue
				}
				fields := []string{}
				for _, v := range e.Violations {
					if v.Field != "" {
						fields = append(fields, v.Field)
					}
				}
				if got := strings.Join(fields, " "); got != test.fields {
					f.Errorf("%s, at replica %d: violations of %q: %v", test.name, i, got, err)
				}
				if test.reason == account.ReasonState && e.Metadata[account.EligibleStates] != "temporarily-inactive,permanently-inactive" {
					f.Errorf("%s: eligible are %q", test.name, e.Metadata[account.EligibleStates])
				}
			}
		}
	})
}

func TestCallsAtAnyReplicaAreAnsweredAlike(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.told(2 * crowd)
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
				f.Errorf("one change, told as %v", answers)
			}
			asked.TransactionReference, asked.RenewalDay = "o-2", proto.Int32(16)
			if _, err := second.subscription.ChangeOverspendSafeguard(f.ctx, asked); status.Code(err) != codes.FailedPrecondition || fault.ReasonOf(err) != account.ReasonDayChanged {
				f.Errorf("a second day in one period: %v", err)
			}
		}
	})
}

// Charges go on while one replica is killed, each repeated under its reference until it has a verdict: what is counted
// in the end is what was allowed, once each.
func TestChargesAreCountedOnceWhileTheirOwnerIsKilled(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full(func(c *configv1.ClassOfService) { c.PaymentSafeguard.Limit = safeguardtest.Units("1000000") }))
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.told(2 * crowd)
		var working sync.WaitGroup
		halfway := make(chan struct{}, crowd)
		const rounds = 30
		for i := range crowd {
			working.Go(func() {
				for n := range rounds {
					if n == rounds/3 {
						halfway <- struct{}{}
					}
					// Whichever door: one of them ends in the midst of calls.
					doors := []*replica{first, second}
					for try := n; ; try++ {
						m, err := doors[try%2].enforcement.Charge(f.ctx, &optionsv1.ChargeRequest{
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

// While nobody has taken over from a replica that is gone, reads come from the store, and say how old they are.
func TestReadsComeFromTheStoreWhileTheOwnerIsAway(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.publish(charges("first", "45")...)
		f.told(3 * crowd)
		for i := range crowd {
			first.shows(subject(i))
		}
		first.kill()
		for i := range crowd {
			m, err := second.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(subject(i))})
			if err != nil || safeguardtest.Amount(m.GetSpent()) != "45" || m.GetStaleness() == nil {
				f.Errorf("%s: %v, %v", subject(i), m, err)
			}
			a, err := second.enforcement.Authorize(f.ctx, &optionsv1.AuthorizeRequest{Name: named(subject(i)), Use: usesNow(roamingUsage())})
			if err != nil || a.GetVerdict() != optionsv1.AuthorizeResponse_VERDICT_ALLOW || a.GetReason() != "" {
				f.Errorf("%s: %v, %v", subject(i), a, err)
			}
		}
		if n := second.counted(`tollgate_safeguard_reads_total{from="store"}`); n == 0 {
			f.Error("nothing was read from the store")
		}
	})
}

func TestWatchersSeeEachChangeThroughAnyReplica(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.told(2 * crowd)
		for i := range crowd {
			first.shows(subject(i))
		}
		watched := func(r *replica, number string) optionsv1.OptionInventoryService_WatchClient {
			s, err := r.inventory.Watch(f.ctx, &optionsv1.WatchRequest{Name: named(number)})
			if err != nil {
				f.Fatal(err)
			}
			return s
		}
		until := func(s optionsv1.OptionInventoryService_WatchClient, enough func(*optionsv1.WatchResponse) bool) {
			f.Helper()
			for {
				m, err := s.Recv()
				if err != nil {
					f.Fatal(err)
				}
				if enough(m) {
					return
				}
			}
		}
		both := []optionsv1.OptionInventoryService_WatchClient{watched(first, subject(1)), watched(second, subject(1))}
		for _, s := range both {
			until(s, func(m *optionsv1.WatchResponse) bool {
				return safeguardtest.Amount(m.GetOptions().GetDataSafeguard().GetSpent()) == "0"
			})
		}
		f.publish(charges("first", "50")...)
		for _, s := range both {
			until(s, func(m *optionsv1.WatchResponse) bool {
				return m.GetOptions().GetDataSafeguard().GetReached() && m.GetSequence() == m.GetOptions().GetDataSafeguard().GetSequence()
			})
		}
		f.publish(&event.Event{ID: "end", Source: "test", Tenant: "acme", Subject: subject(1), Type: "subscriber.terminated", Data: &eventv1.SubscriberTerminated{}})
		for _, s := range both {
			until(s, (*optionsv1.WatchResponse).GetGone)
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

func TestStreamsAnswerByTagAndEndAtADrain(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		first, second := f.start(), f.start()
		f.configured()
		f.publish(activations()...)
		f.told(2 * crowd)
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
			if m, err := reading.Recv(); err != nil || m.GetResponse().GetVerdict() != optionsv1.AuthorizeResponse_VERDICT_ALLOW {
				f.Errorf("%v, %v", m, err)
			}
		}
		first.stop() // with the stream open
		if _, err := reading.Recv(); status.Code(err) != codes.Unavailable {
			f.Errorf("the stream ended with %v", err)
		}
	})
}
