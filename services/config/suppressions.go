package config

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

// signal wakes all that wait for it. The zero value is ready.
type signal struct {
	mu   sync.Mutex
	next chan struct{}
}

// wait is closed by the next notify.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}

// suppressionsAPart is how many names a part has at most: they are at most 512 bytes each.
var suppressionsAPart = 5_000

func (w *watchService) WatchSuppressions(req *configv1.WatchSuppressionsRequest, stream grpc.ServerStreamingServer[configv1.WatchSuppressionsResponse]) error {
	ctx := stream.Context()
	w.service.metrics.watchers.Inc()
	defer w.service.metrics.watchers.Dec()
	repeat := time.NewTicker(repeatInterval)
	defer repeat.Stop()
	at, reset, err := w.service.goesOn(ctx, req.GetAfter())
	if err != nil {
		return err
	}
	for {
		changed := w.service.advanced.wait()
		for complete := false; !complete; reset = false {
			part, err := w.service.suppressionsPart(ctx, at)
			if err != nil {
				return err
			}
			part.Reset_, at, complete = reset, part.GetPosition(), part.GetComplete()
			if err := stream.Send(part); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-repeat.C:
		case <-w.stopping:
			return rpc.ErrStopping()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// goesOn is where a follower goes on: at its position, or, where that is not one of this database's, at the beginning.
func (s *service) goesOn(ctx context.Context, p *configv1.Position) (at *configv1.Position, reset bool, err error) {
	if p.GetRevision() == 0 {
		return nil, true, nil
	}
	found, err := s.store.Locate(ctx, p)
	if err != nil {
		return nil, false, err
	}
	if !found.Found || found.At.Revision != p.GetRevision() || p.GetHistory() == 0 {
		return nil, true, nil
	}
	return p, false, nil
}

// suppressionsPart is what changed after a position, nil for the beginning, as far as one part goes.
func (s *service) suppressionsPart(ctx context.Context, after *configv1.Position) (part *configv1.WatchSuppressionsResponse, err error) {
	err = s.store.View(ctx, func(r store.Reader) error {
		rows, err := r.SuppressionsAfter(ctx, after.GetRevision(), suppressionsAPart)
		if err != nil {
			return err
		}
		part = &configv1.WatchSuppressionsResponse{Position: after, Complete: len(rows) < suppressionsAPart}
		for _, row := range rows {
			if row.Deleted {
				part.Removed = append(part.Removed, row.Name)
			} else {
				part.Added = append(part.Added, row.Name)
			}
		}
		if len(rows) == 0 {
			return nil
		}
		last, err := r.Locate(ctx, &configv1.Position{Revision: rows[len(rows)-1].Revision})
		part.Position = last.Position
		return err
	})
	return part, err
}
