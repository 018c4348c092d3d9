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
		records: x.Engine, catalogs: catalogs{x.Catalogs}, peers: x.Peers, clock: x.Clock, answered: answered,
		stopping: server.Stopping(), timeout: x.Timeout,
	}
	optionsv1.RegisterOptionCatalogServiceServer(server, &catalogService{catalogs: s.catalogs})
	optionsv1.RegisterOptionInventoryServiceServer(server, &inventory{subscribers: s})
	optionsv1.RegisterOptionSubscriptionServiceServer(server, &subscription{subscribers: s})
	optionsv1.RegisterEnforcementServiceServer(server, &enforcement{subscribers: s})
	optionsv1.RegisterOptionAuditServiceServer(server, newAudit(s, x.Engine))
	return nil
}
