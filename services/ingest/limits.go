package ingest

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
)

// Limits bound what one API key may send, over all its calls and streams of this replica. Beyond them a call is refused
// with RESOURCE_EXHAUSTED or 429 and the time to wait, nothing of it is accepted, and a stream is read no faster. What comes
// by Kafka has no key and no limit here: Kafka's own quotas bound it.
type Limits struct {
	// EventsPerSecond of one key; 0: as many as there are. A second's worth may come at once, and at least a batch.
	EventsPerSecond int `yaml:"events_per_second" env:"TOLLGATE_LIMITS_EVENTS_PER_SECOND"`
	// BytesPerSecond of one key, as they are sent; 0: as many as there are. A second's worth may come at once, and at
	// least the largest request.
	BytesPerSecond int64 `yaml:"bytes_per_second" env:"TOLLGATE_LIMITS_BYTES_PER_SECOND"`
}

func (l Limits) validate(f *fault.Violations) {
	if l.EventsPerSecond < 0 {
		f.Add("limits.events_per_second", "must be 0 or more, not %d", l.EventsPerSecond)
	}
	if l.BytesPerSecond < 0 {
		f.Add("limits.bytes_per_second", "must be 0 or more, not %d", l.BytesPerSecond)
	}
}

// limiter holds the keys to their limits.
type limiter struct {
	limits  Limits
	largest int // request, in bytes
	clock   func() time.Time
	limited *prometheus.CounterVec

	mu   sync.Mutex
	keys map[string]*keyLimits
	next time.Time // when keys that are full again are forgotten
}

type keyLimits struct{ events, bytes *rate.Limiter }

const forgetEvery = time.Minute

func newLimiter(limits Limits, largest int, clock func() time.Time, reg prometheus.Registerer) (*limiter, error) {
	l := &limiter{
		limits: limits, largest: largest, clock: clock, keys: map[string]*keyLimits{},
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tollgate_ingest_limited_total",
			Help: "Calls that were refused, and groups of a stream that waited, because their API key was at its limit: of events or bytes.",
		}, []string{"limit", "result"}),
	}
	return l, reg.Register(l.limited)
}

// of are the limits of the caller of ctx.
func (l *limiter) of(ctx context.Context, now time.Time) *keyLimits {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.After(l.next) {
		for id, k := range l.keys {
			if k.full(now) {
				delete(l.keys, id)
			}
		}
		l.next = now.Add(forgetEvery)
	}
	id := rpc.Caller(ctx)
	k := l.keys[id]
	if k == nil {
		k = &keyLimits{bucket(float64(l.limits.EventsPerSecond), maxBatch), bucket(float64(l.limits.BytesPerSecond), l.largest)}
		l.keys[id] = k
	}
	return k
}

// bucket is nil where there is no limit.
func bucket(perSecond float64, least int) *rate.Limiter {
	if perSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond), least))
}

func (k *keyLimits) full(now time.Time) bool {
	for _, b := range []*rate.Limiter{k.events, k.bytes} {
		if b != nil && b.TokensAt(now) < float64(b.Burst()) {
			return false
		}
	}
	return true
}

// after is how long the key has to wait for so many events and bytes, and for which of the limits.
func (k *keyLimits) after(now time.Time, events, bytes int, keep bool) (wait time.Duration, limit string) {
	var taken []*rate.Reservation
	for _, b := range []struct {
		limit string
		*rate.Limiter
		n int
	}{{"events", k.events, events}, {"bytes", k.bytes, bytes}} {
		if b.Limiter == nil {
			continue
		}
		r := b.ReserveN(now, min(b.n, b.Burst()))
		taken = append(taken, r)
		if d := r.DelayFrom(now); d > wait {
			wait, limit = d, b.limit
		}
	}
	if wait > 0 && !keep {
		for _, r := range taken {
			r.CancelAt(now)
		}
	}
	return wait, limit
}

// size is that of a message, where it is limited.
func (l *limiter) size(m proto.Message) int {
	if l.limits.BytesPerSecond == 0 {
		return 0
	}
	return proto.Size(m)
}

// take counts a call, or refuses it.
func (l *limiter) take(ctx context.Context, events, bytes int) error {
	if l.limits == (Limits{}) {
		return nil
	}
	now := l.clock()
	k := l.of(ctx, now)
	wait, limit := k.after(now, events, bytes, false)
	if wait == 0 {
		return nil
	}
	l.limited.WithLabelValues(limit, "refused").Inc()
	return fault.New(fault.Throttled, "RATE_LIMITED", "the API key sends more %s than it may, send this again later", limit).
		After(max(wait, time.Millisecond))
}

// wait counts what a stream has brought, and returns once the key may send that much; false where ctx ended.
func (l *limiter) wait(ctx context.Context, events, bytes int) bool {
	if l.limits == (Limits{}) {
		return true
	}
	now := l.clock()
	k := l.of(ctx, now)
	wait, limit := k.after(now, events, bytes, true)
	if wait == 0 {
		return true
	}
	l.limited.WithLabelValues(limit, "waited").Inc()
	return sleep(ctx, wait, nil)
}
