package config

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/configclient"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// Revisions that services know and this database does not have, the highest of each history, stand in the database: one
// replica shows what services report to another.

const (
	// unknownMost bounds the histories that are remembered.
	unknownMost = 100
	// notedEvery is how often the same is written again: services repeat it with each watch.
	notedEvery = 5 * time.Second
)

// noted is what this process wrote a moment ago.
type noted struct {
	mu   sync.Mutex
	last map[uint64]store.UnknownRevision
}

// due reports whether one is to be written.
func (n *noted) due(u store.UnknownRevision) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, ok := n.last[u.GetHistory()]
	if ok && last.GetRevision() >= u.GetRevision() && (last.InForce || !u.InForce) && u.At.Sub(last.At) < notedEvery {
		return false
	}
	if n.last == nil || len(n.last) >= 2*unknownMost {
		n.last = map[uint64]store.UnknownRevision{}
	}
	n.last[u.GetHistory()] = u
	return true
}

// noteUnknown takes one; inForce where a service works by it, and not only a log names it.
func (s *service) noteUnknown(ctx context.Context, p *configv1.Position, inForce bool) {
	u := store.UnknownRevision{Position: p, InForce: inForce, At: s.clock()}
	if remote, ok := peer.FromContext(ctx); ok {
		u.Peer = remote.Addr.String()
	}
	if !s.noted.due(u) {
		return
	}
	first, err := s.store.NoteUnknown(ctx, u, unknownMost)
	fields := []zap.Field{zap.Int64("revision", p.GetRevision()), zap.String("history", fmt.Sprintf("%016x", p.GetHistory())), zap.Bool("in_force", inForce), zap.String("peer", u.Peer)}
	if first {
		s.log.Error("a service knows a revision that is not here: this database was set back, or begun anew", fields...)
	}
	if err != nil {
		s.log.Warn("unknown revision not noted", append(fields, zap.Error(err))...)
		return
	}
	if _, err := s.unknown(ctx); err != nil {
		s.log.Warn("unknown revisions not counted", zap.Error(err))
	}
}

// unknown is what the head does not have; the rest is forgotten.
func (s *service) unknown(ctx context.Context) (shown []*configv1.History_Unknown, err error) {
	all, err := s.store.Unknown(ctx)
	if err != nil {
		return nil, err
	}
	head, _ := s.notifier.read()
	for _, u := range all {
		if configclient.Continues(head, u.Position) {
			if err := s.store.ForgetUnknown(ctx, u.GetHistory()); err != nil {
				return nil, err
			}
			continue
		}
		shown = append(shown, &configv1.History_Unknown{Position: u.Position, InForce: u.InForce, Peer: u.Peer, ReportedTime: timestamppb.New(u.At)})
	}
	s.metrics.unknown.Set(float64(len(shown)))
	return shown, nil
}
