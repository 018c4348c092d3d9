package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// answered counts what callers were told. How long calls took, by method and code, the gRPC server counts; what became
// of changes and charges at their owner, the engine.
type answered struct {
	reads          map[string]prometheus.Counter
	authorizations map[verdictKey]prometheus.Counter
}

type verdictKey struct {
	verdict optionsv1.AuthorizeResponse_Verdict
	reason  string
}

// Where a read was answered from: values of a label.
const (
	fromOwner   = "owner"   // this replica has the partition
	fromPeer    = "peer"    // through one hop
	fromStore   = "store"   // Redis, since the owner did not answer in time
	fromNowhere = "nowhere" // REBUILDING, or on_unknown
)

func newAnswered(registry prometheus.Registerer) (*answered, error) {
	reads := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "tollgate", Subsystem: "safeguard", Name: "reads_total",
		Help: "Reads of subscribers by callers, by where the answer came from.",
	}, []string{"from"})
	authorizations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "tollgate", Subsystem: "safeguard", Name: "authorizations_total",
		Help: "Authorisations answered here, by verdict and reason.",
	}, []string{"verdict", "reason"})
	for _, c := range []prometheus.Collector{reads, authorizations} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	a := &answered{reads: map[string]prometheus.Counter{}, authorizations: map[verdictKey]prometheus.Counter{}}
	for _, from := range []string{fromOwner, fromPeer, fromStore, fromNowhere} {
		a.reads[from] = reads.WithLabelValues(from)
	}
	verdict := func(v optionsv1.AuthorizeResponse_Verdict, label string, reasons ...string) {
		for _, reason := range reasons {
			a.authorizations[verdictKey{v, reason}] = authorizations.WithLabelValues(label, reason)
		}
	}
	verdict(optionsv1.AuthorizeResponse_VERDICT_ALLOW, "allow", "", account.ReasonUnknown)
	verdict(optionsv1.AuthorizeResponse_VERDICT_DENY, "deny", account.ReasonLimitReached, account.ReasonInactive, account.ReasonUnknown)
	return a, nil
}

func (a *answered) read(from string) { a.reads[from].Inc() }

func (a *answered) authorized(res *optionsv1.AuthorizeResponse) {
	a.authorizations[verdictKey{res.GetVerdict(), res.GetReason()}].Inc()
}
