package configclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	// silence is how long a watch may say nothing before it counts as lost; the service repeats itself every 10 s.
	silence      = 25 * time.Second
	shortestWait = 100 * time.Millisecond
	longestWait  = 5 * time.Second
)

// follow watches, and watches again, until ctx ends.
func (s *Source) follow(ctx context.Context) {
	wait, learned := shortestWait, false
	for {
		var heard bool
		err := error(nil)
		if !learned {
			// First of all: what is known decides whom to follow.
			err = s.learn(ctx)
			learned = err == nil
		}
		if learned {
			heard, err = s.watch(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		if heard {
			wait = shortestWait
		}
		if errors.Is(err, errAgain) {
			continue
		}
		s.disconnected(err)
		// Half to whole, so that the replicas of a fleet come back one by one.
		timer := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, longestWait)
	}
}

var (
	errSilent = errors.New("the configuration service said nothing for too long")
	errAgain  = errors.New("more is known than the watch said")
)

// watch is one stream, from its first word to its end.
func (s *Source) watch(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()
	s.mu.Lock()
	said := s.positions()
	s.again = func() { cancel(errAgain) }
	s.mu.Unlock()
	stream, err := s.client.Watch(ctx, &configv1.WatchRequest{Known: said})
	if err != nil && !errors.Is(context.Cause(ctx), errAgain) {
		return false, fmt.Errorf("watch configuration: %w", err)
	}
	if err != nil {
		return false, errAgain
	}
	for {
		news, err := stream.Recv()
		switch {
		case errors.Is(context.Cause(ctx), errSilent):
			return heard, errSilent
		case errors.Is(context.Cause(ctx), errAgain):
			return heard, errAgain
		case errors.Is(err, io.EOF):
			return heard, errors.New("the configuration service ended the watch")
		case err != nil:
			return heard, fmt.Errorf("watch configuration: %w", err)
		}
		silent.Reset(silence)
		if !heard {
			heard = true
			s.metrics.connected.Set(1)
			s.log.Info("configuration connected", zap.Int64("revision", news.GetRevision()), zap.Int64("apply_revision", news.GetApplyRevision()),
				zap.String("history", historyName(news.GetHistory())))
		}
		if s.hear(news, said) {
			s.save(ctx)
		}
	}
}

func (s *Source) disconnected(err error) {
	s.metrics.connected.Set(0)
	s.mu.Lock()
	before := s.silent
	s.silent = err
	s.mu.Unlock()
	if before == nil || before.Error() != err.Error() {
		s.log.Warn("configuration not followed, trying again", zap.Error(err))
	}
}
