package redisstate

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Commits of a process that are ready while others are on their way go together: one write, one answer, and, with
// appendfsync always, one fsync for all of them. A large one goes by itself, beside the others, and does not hold them.
const (
	aloneBytes = 128 << 10
	groupMost  = 32
	groupBytes = 512 << 10
)

// group sends scripts of one store together.
type group struct {
	redis *redis.Client

	mu      sync.Mutex
	waiting []*member
	busy    bool
}

// member is one script run.
type member struct {
	keys []string
	args []any
	size int

	done chan struct{}
	n    int
	err  error
}

// run runs the script commit, and returns what it returns. After an error it may have run.
func (g *group) run(ctx context.Context, keys []string, args []any, size int) (int, error) {
	if size > aloneBytes {
		return commit.Run(ctx, g.redis, keys, args...).Int() //nolint:wrapcheck // the caller has the operation
	}
	m := &member{keys: keys, args: args, size: size, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	leads := !g.busy
	g.busy = true
	g.mu.Unlock()
	if leads {
		g.send(ctx)
	}
	select {
	case <-m.done:
		return m.n, m.err
	case <-ctx.Done():
		return 0, ctx.Err() //nolint:wrapcheck // the caller has the operation
	}
}

// send sends what waits, and lets another goroutine send what comes meanwhile.
func (g *group) send(ctx context.Context) {
	g.exchange(context.WithoutCancel(ctx), g.take())
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.busy = len(g.waiting) > 0; g.busy {
		go g.send(context.WithoutCancel(ctx))
	}
}

// take takes as many as may go together.
func (g *group) take() []*member {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size := 0, 0
	for n < len(g.waiting) && n < groupMost && (n == 0 || size+g.waiting[n].size <= groupBytes) {
		size += g.waiting[n].size
		n++
	}
	taken := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	if len(g.waiting) == 0 {
		g.waiting = nil
	}
	return taken
}

// exchange runs some, each for itself: one that is fenced leaves the others as they are.
func (g *group) exchange(ctx context.Context, members []*member) {
	results := make([]*redis.Cmd, len(members))
	pipe := g.redis.Pipeline()
	for i, m := range members {
		results[i] = commit.EvalSha(ctx, pipe, m.keys, m.args...)
	}
	_, _ = pipe.Exec(ctx) // each has its error
	for i, m := range members {
		if m.n, m.err = results[i].Int(); redis.HasErrorPrefix(m.err, "NOSCRIPT") {
			m.n, m.err = commit.Run(ctx, g.redis, m.keys, m.args...).Int()
		}
		close(m.done)
	}
}
