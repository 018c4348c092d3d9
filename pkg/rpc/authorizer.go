package rpc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Authorizer knows every key that is accepted: those of operators and services from files, which hold as long as the process
// runs, and those of tenants, which come with the configuration. Safe for concurrent use.
type Authorizer struct {
	operators, services *Keys
	clock               func() time.Time
	// refusals is nil where nobody publishes them.
	refusals *Refusals
	tenants  atomic.Pointer[map[access.Hash]*holder]

	// expecting: tenants' keys will come, and are not known yet.
	expecting atomic.Bool

	mu    sync.Mutex // of replacing and expiring
	timer *time.Timer
	over  bool
}

// holder is a tenant's key in force, and what is open under it.
type holder struct {
	caller access.Caller
	// ended is closed when calls under way have to end: the key is withdrawn, has expired, or gives less than before.
	ended chan struct{}
}

func (h *holder) end() {
	select {
	case <-h.ended:
	default:
		close(h.ended)
	}
}

// NewAuthorizer accepts operators' and services' keys, and no tenant's before Replace.
func NewAuthorizer(operators, services *Keys, clock func() time.Time) *Authorizer {
	a := &Authorizer{operators: operators, services: services, clock: clock}
	a.tenants.Store(&map[access.Hash]*holder{})
	return a
}

// Expect has calls with a key that is not known refused as UNAVAILABLE until Replace: it may be one of a tenant.
func (a *Authorizer) Expect() { a.expecting.Store(true) }

// Replace makes these the tenants' keys. Calls under way go on if their key is still there and gives at least what it
// gave; all others learn that they have to end.
func (a *Authorizer) Replace(keys []access.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := *a.tenants.Load()
	next := make(map[access.Hash]*holder, len(keys))
	for i := range keys {
		k := keys[i]
		h := &holder{caller: access.Caller{ID: k.Hash.Caller(), Key: &k}, ended: make(chan struct{})}
		if b, there := before[k.Hash]; there && b.caller.Key.Name == k.Name && k.Rights.Covers(b.caller.Key.Rights) {
			select {
			case <-b.ended: // it had expired, and may be valid again
			default:
				h.ended = b.ended
			}
		}
		next[k.Hash] = h
	}
	a.tenants.Store(&next)
	a.expecting.Store(false)
	for hash, b := range before {
		if n, there := next[hash]; !there || n.ended != b.ended {
			b.end()
		}
	}
	a.expire()
}

// lookAgain bounds the wait for an expiry: the clock may be set meanwhile.
const lookAgain = time.Second

// expire ends what is open under keys that have expired, and comes back for the next one. It requires mu.
func (a *Authorizer) expire() {
	if a.timer != nil {
		a.timer.Stop()
	}
	now, next := a.clock(), time.Time{}
	for _, h := range *a.tenants.Load() {
		switch k := h.caller.Key; {
		case k.Expires.IsZero():
		case k.Expired(now):
			h.end()
		case next.IsZero() || k.Expires.Before(next):
			next = k.Expires
		}
	}
	if next.IsZero() || a.over {
		return
	}
	a.timer = time.AfterFunc(min(next.Sub(now), lookAgain), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.over {
			a.expire()
		}
	})
}

// Close ends the watch over expiries.
func (a *Authorizer) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over = true; a.timer != nil {
		a.timer.Stop()
	}
}

// Len is the number of accepted keys.
func (a *Authorizer) Len() int { return a.operators.Len() + a.services.Len() + len(*a.tenants.Load()) }

// Authenticate checks an Authorization header, "Bearer <key>", of gRPC metadata or HTTP. ended is closed when calls under
// way have to end, nil where that never happens. The error is a fault of kind Unauthenticated.
func (a *Authorizer) Authenticate(authorization string) (caller *access.Caller, ended <-chan struct{}, err error) {
	secret, sent := secretOf(authorization)
	if !sent {
		return nil, nil, fault.New(fault.Unauthenticated, reason.APIKeyMissing, "send an API key as authorization: Bearer <key>")
	}
	hash := access.HashOf(secret)
	c := access.Caller{ID: hash.Caller(), Operator: a.operators.has(hash), Service: a.services.has(hash)}
	if secret != "" && (c.Operator || c.Service) {
		return &c, nil, nil
	}
	h, found := (*a.tenants.Load())[hash]
	switch {
	case !found && a.expecting.Load():
		return nil, nil, fault.New(fault.Unavailable, reason.ConfigNotRead, "the API keys of tenants are not known yet: try again")
	case !found:
		return nil, nil, fault.New(fault.Unauthenticated, reason.APIKeyUnknown, "the API key is not known")
	case h.caller.Key.Expired(a.clock()):
		return nil, nil, fault.New(fault.Unauthenticated, reason.APIKeyExpired, "the API key has expired")
	}
	return &h.caller, h.ended, nil
}

// secretOf is the secret in an Authorization header; not sent where it has none.
func secretOf(authorization string) (secret string, sent bool) {
	const scheme = "bearer "
	if len(authorization) <= len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", false
	}
	return strings.TrimSpace(authorization[len(scheme):]), true
}

// has reports whether a hash is in the set, in constant time.
func (k *Keys) has(hash [sha256.Size]byte) bool {
	found := 0
	for _, h := range k.hashes {
		found |= subtle.ConstantTimeCompare(hash[:], h[:])
	}
	return found == 1
}

// CallerOf is who makes the call of ctx; nil on an open method and without a server.
func CallerOf(ctx context.Context) *access.Caller {
	if c := callOf(ctx); c != nil {
		return c.caller
	}
	return nil
}

// WithCaller is the context of a request that came by another transport, for CallerOf and Refuse. Its method is such as
// "POST /v1/events".
func (a *Authorizer) WithCaller(ctx context.Context, c *access.Caller, method, address string) context.Context {
	return context.WithValue(ctx, callKey{}, &call{caller: c, method: method, address: address, refusals: a.refusals, hold: unbounded.Hold()})
}

// KeyEnded is closed when a stream has to end because its key was withdrawn, has expired or gives less than before. The
// stream then answers what it has taken and returns ErrKeyEnded; its context ends keyGrace later. nil where that never
// happens.
func KeyEnded(ctx context.Context) <-chan struct{} {
	if c := callOf(ctx); c != nil {
		return c.ended
	}
	return nil
}

// keyGrace is how long a stream may take to end. With what the word of a withdrawal takes it is below two seconds.
const keyGrace = time.Second

var errKeyEnded = fault.New(fault.Unauthenticated, reason.APIKeyEnded, "the API key was withdrawn, has expired, or gives less than when the stream began")

// ErrKeyEnded is the error of a stream that ends because of KeyEnded.
func ErrKeyEnded() error { return errKeyEnded }
