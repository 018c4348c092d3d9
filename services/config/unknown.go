package config

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/configclient"

	"go.uber.org/zap"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// unknown are revisions that services know and this database does not have, the highest of each history. They are in
// memory alone: services repeat them with each watch.
type unknown struct {
	log     *zap.Logger
	clock   func() time.Time
	metrics *metrics

	mu  sync.Mutex
	all []*configv1.History_Unknown // the newest is last
}

// unknownMost bounds the histories that are remembered.
const unknownMost = 100

// note takes one; inForce where a service works by it, and not only a log names it.
func (u *unknown) note(ctx context.Context, p *configv1.Position, inForce bool) {
	from := ""
	if remote, ok := peer.FromContext(ctx); ok {
		from = remote.Addr.String()
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	next := &configv1.History_Unknown{Position: p, InForce: inForce, Peer: from, ReportedTime: timestamppb.New(u.clock())}
	before := slices.IndexFunc(u.all, func(k *configv1.History_Unknown) bool { return k.GetPosition().GetHistory() == p.GetHistory() })
	if before >= 0 {
		old := u.all[before]
		if old.GetPosition().GetRevision() > p.GetRevision() {
			next.Position = old.GetPosition()
		}
		next.InForce = next.InForce || old.GetInForce()
		u.all = slices.Delete(u.all, before, before+1)
	}
	if before < 0 {
		u.log.Error("a service knows a revision that is not here: this database was set back, or begun anew",
			zap.Int64("revision", p.GetRevision()), zap.String("history", fmt.Sprintf("%016x", p.GetHistory())), zap.Bool("in_force", inForce), zap.String("peer", from))
	}
	u.all = append(u.all, next)
	if len(u.all) > unknownMost {
		u.all = slices.Delete(u.all, 0, 1)
	}
	u.metrics.unknown.Set(float64(len(u.all)))
}

// list is what a head does not have; the rest is forgotten.
func (u *unknown) list(head *configv1.WatchResponse) []*configv1.History_Unknown {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = slices.DeleteFunc(u.all, func(k *configv1.History_Unknown) bool { return configclient.Continues(head, k.GetPosition()) })
	u.metrics.unknown.Set(float64(len(u.all)))
	return slices.Clone(u.all)
}
