package redisstate

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/state"
)

// Redis finds keys by looking at all there are, whoever asks. So the partitions of a domain that this process walks share
// each step: a round goes once over all keys, and gives each its own. Who comes while a round is on its way waits for the
// next one, since a key may have been made where the round has been already. A Redis that was started again in the course of a
// round has its keys in another order: the round is none.

const (
	// mostFound is how many keys may lie ready for one partition: others wait for it.
	mostFound = 20_000
	// paused is how long a partition may leave its walk alone before it is given up.
	paused = time.Minute
	// full is how long who waits for another partition lets go of the round.
	full = 10 * time.Millisecond
)

// walks are those of a store, by domain.
type walks struct {
	mu      sync.Mutex
	domains map[string]*rounds
	// written counts what may have made a key.
	written atomic.Uint64
}

// rounds are those of a domain.
type rounds struct {
	walks   *walks
	pattern string
	server  server
	now     func() time.Time

	mu      sync.Mutex
	number  uint64
	run     string             // of the server that the round is on
	walkers map[string]*walker // by cursor
	riding  map[string]*walker // of the round on its way, by what their keys begin with
	at      uint64
	// step is closed once the one on its way is over; nil where none is.
	step chan struct{}
	// found counts the keys of the round; begun is what had been written by then. nothing: of what had been written by until,
	// no key stands.
	found        int
	begun, until uint64
	nothing      bool
}

// server is what a round is made on.
type server interface {
	// run distinguishes one start of the server from another.
	run(ctx context.Context) (string, error)
	scan(ctx context.Context, from uint64, pattern string, count int) (keys []string, at uint64, err error)
}

// walker is one walk of a partition.
type walker struct {
	base, prefix string
	keys         []string // found and not taken
	over         bool     // the round is
	seen         time.Time
}

// Walk implements state.Store.
func (s *Store) Walk(ctx context.Context, p state.Partition, prefix, cursor string, count int) (keys []string, next string, err error) {
	keys, next, err = s.rounds(p.Domain).walk(ctx, s.base(p), prefix, cursor, count)
	if err != nil {
		return nil, "", fmt.Errorf("walk %s/%d: %w", p.Domain, p.Number, err)
	}
	return keys, next, nil
}

func (s *Store) rounds(domain string) *rounds {
	s.walks.mu.Lock()
	defer s.walks.mu.Unlock()
	r, ok := s.walks.domains[domain]
	if !ok {
		r = &rounds{
			walks: &s.walks, pattern: "{" + s.prefix + ":" + domain + ":*", server: oneRedis{s.redis}, now: time.Now,
			walkers: make(map[string]*walker), riding: make(map[string]*walker),
		}
		if s.walks.domains == nil {
			s.walks.domains = make(map[string]*rounds)
		}
		s.walks.domains[domain] = r
	}
	return r
}

func (r *rounds) walk(ctx context.Context, base, prefix, cursor string, count int) ([]string, string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.giveUp()
	if cursor == "" {
		if r.nothing && r.until == r.walks.written.Load() {
			return nil, "", nil
		}
		cursor = r.enter(base, prefix)
	}
	w, ok := r.walkers[cursor]
	if !ok {
		return nil, "", state.ErrWalk
	}
	w.seen = r.now()
	if len(w.keys) == 0 && !w.over {
		if err := r.goOn(ctx, count); err != nil {
			return nil, "", err
		}
	}
	n := min(count, len(w.keys))
	keys := w.keys[:n:n]
	w.keys = w.keys[n:]
	if w.over && len(w.keys) == 0 {
		delete(r.walkers, cursor)
		cursor = ""
	}
	return keys, cursor, nil
}

// enter begins a walk in place of one that the partition has left.
func (r *rounds) enter(base, prefix string) string {
	for cursor, w := range r.walkers {
		if w.base == base {
			r.leave(cursor, w)
		}
	}
	r.number++
	cursor := fmt.Sprint(r.number)
	r.walkers[cursor] = &walker{base: base, prefix: prefix, seen: r.now()}
	return cursor
}

func (r *rounds) leave(cursor string, w *walker) {
	delete(r.walkers, cursor)
	if r.riding[w.base] == w {
		delete(r.riding, w.base)
	}
}

func (r *rounds) giveUp() {
	for cursor, w := range r.walkers {
		if r.now().Sub(w.seen) > paused {
			r.leave(cursor, w)
		}
	}
}

// goOn goes one step on, or waits until the step on its way is over.
func (r *rounds) goOn(ctx context.Context, count int) error {
	if step := r.step; step != nil {
		r.mu.Unlock()
		defer r.mu.Lock()
		select {
		case <-step:
			return nil
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // Walk has the operation
		}
	}
	for _, w := range r.riding {
		if len(w.keys) >= mostFound {
			r.mu.Unlock()
			defer r.mu.Lock()
			pause.For(ctx, full)
			return nil
		}
	}
	step := make(chan struct{})
	r.step = step
	first, at := len(r.riding) == 0, r.at
	if first {
		r.begin()
		at = 0
	}
	r.mu.Unlock()
	l, err := r.look(ctx, first, at, count)
	r.mu.Lock()
	r.step = nil
	close(step)
	if err != nil {
		if first {
			clear(r.riding)
		}
		return err
	}
	if first {
		r.run = l.before
	}
	r.take(l.found)
	switch r.at = l.at; {
	case l.at != 0:
	case l.after == r.run:
		r.end()
	default:
		for cursor, w := range r.walkers {
			if r.riding[w.base] == w {
				r.leave(cursor, w)
			}
		}
	}
	return nil
}

// looked is what one step has found. before is the server's run before the first step of a round, after that after the last.
type looked struct {
	found         []string
	at            uint64
	before, after string
}

func (r *rounds) look(ctx context.Context, first bool, from uint64, count int) (l looked, err error) {
	if first {
		if l.before, err = r.server.run(ctx); err != nil {
			return l, err
		}
	}
	if l.found, l.at, err = r.server.scan(ctx, from, r.pattern, count); err == nil && l.at == 0 {
		l.after, err = r.server.run(ctx)
	}
	return l, err
}

// begin begins a round with all that wait for one.
func (r *rounds) begin() {
	r.found, r.begun = 0, r.walks.written.Load()
	for _, w := range r.walkers {
		if !w.over {
			r.riding[w.base] = w
		}
	}
}

func (r *rounds) take(found []string) {
	for _, k := range found {
		end := strings.IndexByte(k, '}') + 1
		base, key := k[:end], k[end:]
		if key == watermarkKey {
			continue
		}
		r.found++
		if w, ok := r.riding[base]; ok && strings.HasPrefix(key, w.prefix) {
			w.keys = append(w.keys, key)
		}
	}
}

func (r *rounds) end() {
	r.nothing, r.until = r.found == 0, r.begun
	for base, w := range r.riding {
		w.over = true
		delete(r.riding, base)
	}
}

// oneRedis is a Redis by itself.
type oneRedis struct{ redis *redis.Client }

var runPattern = regexp.MustCompile(`(?m)^run_id:(\w+)`)

func (s oneRedis) run(ctx context.Context) (string, error) {
	info, err := s.redis.Info(ctx, "server").Result()
	if _, refused := errors.AsType[redis.Error](err); refused {
		return "", nil // a service of Redis may refuse it
	}
	if err != nil {
		return "", err //nolint:wrapcheck // Walk has the operation
	}
	return runPattern.FindString(info), nil
}

func (s oneRedis) scan(ctx context.Context, from uint64, pattern string, count int) ([]string, uint64, error) {
	return s.redis.Scan(ctx, from, pattern, int64(count)).Result() //nolint:wrapcheck // Walk has the operation
}
