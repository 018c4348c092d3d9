package api

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// answered counts answers to callers. The gRPC server counts how long requests took, by method and code; the engine counts the
// results of changes and charges at their owner.
type answered struct {
	reads          map[string]prometheus.Counter
	authorizations map[decisionKey]prometheus.Counter
}

type decisionKey struct {
	decision optionsv1.AuthorizeResponse_Decision
	reason   string
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
		Help: "Authorisations answered here, by decision and reason.",
	}, []string{"decision", "reason"})
	for _, c := range []prometheus.Collector{reads, authorizations} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	a := &answered{reads: map[string]prometheus.Counter{}, authorizations: map[decisionKey]prometheus.Counter{}}
	for _, from := range []string{fromOwner, fromPeer, fromStore, fromNowhere} {
		a.reads[from] = reads.WithLabelValues(from)
	}
	decision := func(v optionsv1.AuthorizeResponse_Decision, label string, reasons ...string) {
		for _, reason := range reasons {
			a.authorizations[decisionKey{v, reason}] = authorizations.WithLabelValues(label, reason)
		}
	}
	decision(optionsv1.AuthorizeResponse_DECISION_ALLOW, "allow", "", account.ReasonUnknown)
	decision(optionsv1.AuthorizeResponse_DECISION_DENY, "deny", account.ReasonLimitReached, account.ReasonInactive, account.ReasonUnknown)
	return a, nil
}

func (a *answered) read(from string) { a.reads[from].Inc() }

func (a *answered) authorized(res *optionsv1.AuthorizeResponse) {
	a.authorizations[decisionKey{res.GetDecision(), res.GetReason()}].Inc()
}
