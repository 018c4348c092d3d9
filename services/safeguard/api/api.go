package api

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Services is what the API answers from.
type Services struct {
	Engine   *fold.Engine[account.Subscriber, *account.Catalog]
	Catalogs Catalogs
	Peers    *Replicas
	Clock    func() time.Time
	// Timeout bounds one request of a stream, which has no deadline of its own.
	Timeout time.Duration
	Metrics prometheus.Registerer
}

// Register lets the server answer.
func (x Services) Register(server *rpc.Server) error {
	answered, err := newAnswered(x.Metrics)
	if err != nil {
		return err
	}
	s := &subscribers{
		records: x.Engine, catalogs: catalogs{x.Catalogs}, clock: x.Clock, answered: answered,
		stopping: server.Stopping(), timeout: x.Timeout,
	}
	f := &forwarding{ServiceRegistrar: server, local: s, peers: x.Peers}
	optionsv1.RegisterOptionCatalogServiceServer(f, &catalogService{catalogs: s.catalogs})
	optionsv1.RegisterOptionInventoryServiceServer(f, &inventory{subscribers: s})
	optionsv1.RegisterOptionSubscriptionServiceServer(f, &subscription{subscribers: s})
	optionsv1.RegisterEnforcementServiceServer(f, newEnforcement(s, f))
	optionsv1.RegisterOptionAuditServiceServer(f, newAudit(s, x.Engine))
	return nil
}
