package safeguard

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// clients are the services of a replica.
type clients struct {
	catalog      optionsv1.OptionCatalogServiceClient
	inventory    optionsv1.OptionInventoryServiceClient
	subscription optionsv1.OptionSubscriptionServiceClient
	enforcement  optionsv1.EnforcementServiceClient
	audit        optionsv1.OptionAuditServiceClient
}

func newClients(conn grpc.ClientConnInterface) clients {
	return clients{
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
