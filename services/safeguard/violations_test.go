package safeguard

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/type/money"
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

func TestRequests_NameEveryViolation(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full(), &configv1.ClassOfService{Name: "tenants/acme/classesOfService/basic"})
		first, second := f.start(), f.start()
		f.shared(first, second)
		f.configured()
		events := activations()
		events[0].Data = &eventv1.SubscriberActivated{ClassOfService: "basic"}
		f.publish(events...)
		f.outcomes(2 * (crowd - 1)) // data and payment begin active
		bare, whole := subject(0), subject(1)
		data := func(number string) string { return named(number) + "/options/dataSafeguard" }
		overspend := func(number string) string { return named(number) + "/options/overspendSafeguard" }
		day := proto.Int32
		type asked = func(context.Context, clients) error
		var (
			change = func(m *optionsv1.ChangeDataSafeguardRequest) asked {
				return func(ctx context.Context, d clients) error {
					_, err := d.subscription.ChangeDataSafeguard(ctx, m)
					return err
				}
			}
			limit = func(m *optionsv1.ChangeOverspendSafeguardRequest) asked {
				return func(ctx context.Context, d clients) error {
					_, err := d.subscription.ChangeOverspendSafeguard(ctx, m)
					return err
				}
			}
			charge = func(m *optionsv1.ChargeRequest) asked {
				return func(ctx context.Context, d clients) error { _, err := d.enforcement.Charge(ctx, m); return err }
			}
			authorize = func(m *optionsv1.AuthorizeRequest) asked {
				return func(ctx context.Context, d clients) error { _, err := d.enforcement.Authorize(ctx, m); return err }
			}
			get = func(name string) asked {
				return func(ctx context.Context, d clients) error {
					_, err := d.inventory.GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{Name: name})
					return err
				}
			}
			catalog = func(name string) asked {
				return func(ctx context.Context, d clients) error {
					_, err := d.catalog.GetPaymentSafeguard(ctx, &optionsv1.GetPaymentSafeguardRequest{Name: name})
					return err
				}
			}
			watch = func(name string) asked {
				return func(ctx context.Context, d clients) error {
					s, err := d.inventory.Watch(ctx, &optionsv1.WatchRequest{Name: name})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				}
			}
			explain = func(name string) asked {
				return func(ctx context.Context, d clients) error {
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
			{"inventory: unknown number", get(data("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"inventory: not offered", get(data(bare)), codes.NotFound, account.ReasonNotOffered, ""},
			{"watch: unknown number", watch(named("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"watch: not a name", watch("x"), codes.InvalidArgument, api.ReasonName, "name"},
			{"catalog: not a name", catalog(data(whole)), codes.InvalidArgument, api.ReasonName, "name"},
			{"catalog: no class", catalog("tenants/acme/classesOfService/none/options/paymentSafeguard"), codes.NotFound, api.ReasonClassAbsent, ""},
			{"catalog: not offered", catalog("tenants/acme/classesOfService/basic/options/paymentSafeguard"), codes.NotFound, account.ReasonNotOffered, ""},
			{"change: every fault at once", change(&optionsv1.ChangeDataSafeguardRequest{Name: "x", RenewalDay: day(29), State: 99}), codes.InvalidArgument, account.ReasonChange, "name transaction_reference renewal_day state"},
			{"change: nothing", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: "c"}), codes.InvalidArgument, account.ReasonChange, ""},
			{"change: a reference that is too long", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: strings.Repeat("x", 129), RenewalDay: day(2)}), codes.InvalidArgument, account.ReasonRequest, "transaction_reference"},
			{"change: day 0", change(&optionsv1.ChangeDataSafeguardRequest{Name: data(whole), TransactionReference: "c", RenewalDay: day(0)}), codes.InvalidArgument, account.ReasonDay, "renewal_day"},
			{"change: unknown number", change(&optionsv1.ChangeDataSafeguardRequest{Name: data("449999999999"), TransactionReference: "c", RenewalDay: day(2)}), codes.NotFound, account.ReasonNotFound, ""},
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
			{"charge: no currency of ISO 4217", charge(&optionsv1.ChargeRequest{Name: named(whole), TransactionReference: "c", Amount: &money.Money{CurrencyCode: "ABC", Units: 1}}), codes.InvalidArgument, account.ReasonCurrency, "amount.currency_code"},
			{"charge: unknown number", charge(&optionsv1.ChargeRequest{Name: named("449999999999"), TransactionReference: "c", Amount: safeguardtest.Units("1")}), codes.NotFound, account.ReasonNotFound, ""},
			{"charge: not offered", charge(&optionsv1.ChargeRequest{Name: named(bare), TransactionReference: "c", Amount: safeguardtest.Units("1")}), codes.NotFound, account.ReasonNotOffered, ""},
			{"authorize: every fault at once", authorize(&optionsv1.AuthorizeRequest{Name: "x"}), codes.InvalidArgument, account.ReasonRequest, "name use"},
			{"authorize: unknown number", authorize(&optionsv1.AuthorizeRequest{Name: named("449999999999"), Use: usesNow(roamingUsage())}), codes.NotFound, account.ReasonNotFound, ""},
			{"authorize: unknown number, written with a plus", authorize(&optionsv1.AuthorizeRequest{Name: named("+449999999999"), Use: usesNow(roamingUsage())}), codes.NotFound, account.ReasonNotFound, ""},
			{"authorize: a number that is none", authorize(&optionsv1.AuthorizeRequest{Name: named("0044999"), Use: usesNow(roamingUsage())}), codes.InvalidArgument, api.ReasonName, "name"},
			{"authorize: an option that is not offered", authorize(&optionsv1.AuthorizeRequest{Name: named(bare), Use: usesOption(spend.Data)}), codes.NotFound, account.ReasonNotOffered, ""},
			{"explain: unknown number", explain(named("449999999999")), codes.NotFound, account.ReasonNotFound, ""},
			{"explain: not a name", explain("x"), codes.InvalidArgument, api.ReasonName, "name"},
		} {
			for i, r := range []*replica{first, second} { // one of them has the partition, the other sends it on
				_, err := answeredBy(f, func() (struct{}, error) { return struct{}{}, test.ask(f.ctx, r.clients) })
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
				if strings.HasSuffix(test.name, "a number that is none") && !strings.Contains(e.Violations[0].Description, event.FormMSISDN) {
					f.Errorf("%s: %v", test.name, err)
				}
				if test.reason == account.ReasonState && e.Metadata[account.EligibleStates] != "temporarily-inactive,permanently-inactive" {
					f.Errorf("%s: eligible are %q", test.name, e.Metadata[account.EligibleStates])
				}
			}
		}
	})
}
