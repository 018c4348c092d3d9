package rpc

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/peer"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
)

// Bounds of what is remembered of refusals.
const (
	// countedAMinute is how many pairs of caller and method are counted one by one within a minute; the others of a method
	// are summed.
	countedAMinute = 1000
	// refusalsHeld is how many entries wait to be taken. Whoever takes them gives back what it could not publish.
	refusalsHeld = 5000
	// otherMethods stands for a method that there is not: its name may be any text.
	otherMethods = "unknown"
)

// Refusal is how many calls of one caller and method were refused within a minute.
type Refusal struct {
	refused
	// Tenant of the caller's key; empty where it is not known.
	Tenant string
	// Address is that of the first.
	Address string
	Count   int64
	Reasons map[string]int64
}

// refused is what is counted together.
type refused struct {
	// Minute is its beginning.
	Minute time.Time
	// Caller is empty without a key, and of Others.
	Caller string
	// From is the address where no key was sent; empty otherwise.
	From   string
	Method string
	// Others: the sum of callers beyond those that are counted one by one.
	Others bool
}

// Refusals counts the calls that are refused, by minute. Safe for concurrent use; counting waits for nothing.
type Refusals struct {
	clock   func() time.Time
	total   *prometheus.CounterVec
	dropped prometheus.Counter

	mu   sync.Mutex
	held map[refused]*Refusal
	// counted is how many entries of the minute are no sums.
	minute  time.Time
	counted int
}

// NewRefusals registers its metrics for a service.
func NewRefusals(service string, clock func() time.Time, metrics prometheus.Registerer) (*Refusals, error) {
	r := &Refusals{
		clock: clock, held: map[refused]*Refusal{},
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: service, Name: "refusals_total",
			Help: "Calls, and events of a batch, that were refused as UNAUTHENTICATED or PERMISSION_DENIED, by reason and, of SCOPE_REQUIRED, by the scope that lacks.",
		}, []string{"reason", "scope"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tollgate", Subsystem: service, Name: "refusals_dropped_total",
			Help: "Refusals that are on no audit record: Kafka took none for so long that no more are held, or until the process ended.",
		}),
	}
	for _, c := range []prometheus.Collector{r.total, r.dropped} {
		if err := metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// add counts a refusal; other errors are none.
func (r *Refusals) add(method, caller, tenant, address string, err error) {
	if kind := fault.KindOf(err); kind != fault.Unauthenticated && kind != fault.Denied {
		return
	}
	why := fault.ReasonOf(err)
	r.total.WithLabelValues(why, access.Lacking(method, why)).Inc()
	of := refused{Minute: r.clock().UTC().Truncate(time.Minute), Caller: caller, Method: method}
	if caller == "" {
		of.From = address
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.entry(of)
	if one == nil {
		r.dropped.Inc()
		return
	}
	if one.Count == 0 && !one.Others {
		one.Tenant, one.Address = tenant, address
	}
	one.Count++
	one.Reasons[why]++
}

// entry is the one that counts this; nil where there is no room. It requires mu.
func (r *Refusals) entry(of refused) *Refusal {
	if one := r.held[of]; one != nil {
		return one
	}
	if !of.Minute.Equal(r.minute) {
		r.minute, r.counted = of.Minute, 0
	}
	if r.counted >= countedAMinute {
		of = refused{Minute: of.Minute, Method: of.Method, Others: true}
		if one := r.held[of]; one != nil {
			return one
		}
	}
	if len(r.held) >= refusalsHeld {
		return nil
	}
	if !of.Others {
		r.counted++
	}
	one := &Refusal{refused: of, Reasons: map[string]int64{}}
	r.held[of] = one
	return one
}

// Take hands over what was refused in minutes that are over; all of it for the zero time.
func (r *Refusals) Take(now time.Time) []*Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Refusal
	for of, one := range r.held {
		if now.IsZero() || now.Sub(of.Minute) >= time.Minute {
			out = append(out, one)
			delete(r.held, of)
		}
	}
	return out
}

// Return gives back what could not be published, to be taken again.
func (r *Refusals) Return(all []*Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range all {
		switch again := r.held[one.refused]; {
		case again != nil: // the clock went back
			again.Count += one.Count
			for why, n := range one.Reasons {
				again.Reasons[why] += n
			}
		case len(r.held) >= refusalsHeld:
			r.dropped.Add(float64(one.Count))
		default:
			r.held[one.refused] = one
		}
	}
}

// Drop counts what will not be published.
func (r *Refusals) Drop(all []*Refusal) {
	for _, one := range all {
		r.dropped.Add(float64(one.Count))
	}
}

// Refuse counts an error of a call that this package does not see by itself: of one event of several, or by another
// transport. Errors that are no refusals are not counted.
func Refuse(ctx context.Context, err error) {
	if c := callOf(ctx); c != nil && c.refusals != nil {
		c.refuse(ctx, err)
	}
}

func (c *call) refuse(ctx context.Context, err error) {
	caller, tenant := "", ""
	if c.caller != nil {
		caller = c.caller.ID
		if c.caller.Key != nil {
			tenant = c.caller.Key.Tenant
		}
	}
	c.refusals.add(c.method, caller, tenant, c.from(ctx), err)
}

// from is the address of the caller, without its port.
func (c *call) from(ctx context.Context) string {
	address := c.address
	if p, ok := peer.FromContext(ctx); ok && address == "" {
		address = p.Addr.String()
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// RefuseHeaders counts a call that was refused by its headers: caller is nil where they name none that is known. method
// may be any text.
func (a *Authorizer) RefuseHeaders(ctx context.Context, method, address, authorization string, caller *access.Caller, err error) {
	if a.refusals == nil {
		return
	}
	if _, known := access.Methods[method]; !known && method != access.PublishHTTP {
		method = otherMethods
	}
	if secret, sent := secretOf(authorization); caller == nil && sent {
		hash := access.HashOf(secret)
		caller = &access.Caller{ID: hash.Caller()}
		if h, found := (*a.tenants.Load())[hash]; found { // it has expired
			caller.Key = h.caller.Key
		}
	}
	c := &call{caller: caller, method: method, address: address, refusals: a.refusals}
	c.refuse(ctx, err)
}

// Refusals are those of all calls that this knows the keys of.
func (a *Authorizer) Refusals() *Refusals { return a.refusals }
