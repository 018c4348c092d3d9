package webhook

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/webhook"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/outbound"
)

// endpoint is one as requests need it; made once for each revision.
type endpoint struct {
	*webhook.Endpoint
	url         *url.URL
	identity    outbound.Identity
	credentials credentials
	print       uint64
	// answers bounds what is kept of responses; it is the same over all revisions.
	answers  *answers
	schedule *schedule.Schedule
	// broken is why nothing can be sent: the attempt fails with it, and is repeated, since the next revision may mend it.
	broken error
}

func (e *endpoint) Concurrency() int    { return e.Endpoint.Concurrency }
func (e *endpoint) Fingerprint() uint64 { return e.print }
func (e *endpoint) Rate() int           { return e.Endpoint.Rate }
func (e *endpoint) Paused() bool        { return e.Endpoint.Paused }
func (e *endpoint) Activation() int64   { return e.Endpoint.Activation }

func (e *endpoint) Schedule() *schedule.Schedule { return e.schedule }

// newSchedule is nil for an endpoint that is always sent to.
func newSchedule(s *webhook.Schedule) *schedule.Schedule {
	if s == nil {
		return nil
	}
	out := &schedule.Schedule{Zone: s.Zone}
	for _, h := range s.Hours {
		out.Hours = append(out.Hours, schedule.Hours{Days: h.Days, Start: int(h.Start / time.Minute), End: int(h.End / time.Minute)})
	}
	return out
}

func newEndpoint(t *configclient.Target, s *configclient.Snapshot, denied []netip.Prefix) *endpoint {
	e := t.Value.(*webhook.Endpoint)
	tenant, ok := s.Tenant(e.Tenant)
	if !ok {
		tenant = &configclient.Tenant{}
	}
	out := prepare(e, tenant, denied)
	switch {
	case !ok:
		out.broken = fmt.Errorf("tenant %s does not exist", e.Tenant)
	case t.Unreadable != nil:
		out.broken = t.Unreadable
	}
	return out
}

// prepare makes an endpoint of a tenant ready.
func prepare(e *webhook.Endpoint, tenant *configclient.Tenant, denied []netip.Prefix) *endpoint {
	out := &endpoint{Endpoint: e, answers: &answers{}, schedule: newSchedule(e.Schedule)}
	policy := tenant.Outbound
	policy.Denied = append(policy.Denied[:len(policy.Denied):len(policy.Denied)], denied...)
	var err error
	if out.url, err = url.Parse(e.URL); err != nil {
		out.broken = fmt.Errorf("the endpoint's URL can't be read: %w", withoutURL(err))
	}
	if out.credentials, err = credentialsOf(e); err != nil {
		out.broken = err
	}
	if out.identity, err = outbound.NewIdentity(e.Tenant, policy, e.CACertificates, out.credentials.certificate); err != nil {
		out.broken = fmt.Errorf("the endpoint's certificates can't be read: %w", err)
	}
	out.print = fingerprint(e, tenant)
	return out
}

// fingerprint is over all that may turn a failure into a success.
func fingerprint(e *webhook.Endpoint, tenant *configclient.Tenant) uint64 {
	var h xxhash.Digest
	h.Reset()
	part := func(b []byte) {
		_, _ = h.WriteString(fmt.Sprintf("%d:", len(b))) // never fails, nor does Write
		_, _ = h.Write(b)
	}
	part([]byte(e.URL))
	part(e.CACertificates)
	for _, s := range e.Secrets {
		part(s)
	}
	for _, header := range e.Headers {
		part([]byte(header.Name))
		part([]byte(header.Value))
	}
	authParts(e, part)
	part(fmt.Appendf(nil, "%s %v %v", e.Timeout, e.Phases, tenant.Outbound))
	return max(h.Sum64(), 1)
}

// directory follows the configuration and keeps the endpoints of its newest
// revision ready.
type directory struct {
	source revisions
	denied []netip.Prefix
	// keep learns which identities the endpoints of a new revision have.
	keep   func(map[outbound.Key]bool)
	health loop.Health
	log    *zap.Logger

	// snapshot is the newest revision read; of SendTest.
	snapshot atomic.Pointer[configclient.Snapshot]

	mu      sync.Mutex
	targets *delivery.Targets
	changed chan struct{}
}

// revisions is the part of configclient.Source that is needed here.
type revisions interface {
	Newest() (apply, all int64, ok bool)
	Current(revision int64) bool
	At(ctx context.Context, revision int64) (*configclient.Snapshot, error)
	Changed() <-chan struct{}
}

func newDirectory(source revisions, denied []netip.Prefix, keep func(map[outbound.Key]bool), health loop.Health, log *zap.Logger) *directory {
	return &directory{source: source, denied: denied, keep: keep, health: health, log: log, changed: make(chan struct{})}
}

// Newest implements delivery.Directory.
func (d *directory) Newest() (*delivery.Targets, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.targets, d.changed
}

// Current implements delivery.Directory.
func (d *directory) Current(revision int64) bool { return d.source.Current(revision) }

// endpoint is that of a name in the newest revision; nil where there is none.
func (d *directory) endpoint(name string) *endpoint {
	targets, _ := d.Newest()
	if targets == nil {
		return nil
	}
	e, _ := targets.ByName[name].(*endpoint)
	return e
}

// retryRead is how soon a revision that could not be read is asked for again.
const retryRead = time.Second

// follow takes over each new revision until ctx ends.
func (d *directory) follow(ctx context.Context) {
	for {
		changed := d.source.Changed()
		var again <-chan time.Time
		if _, all, ok := d.source.Newest(); ok {
			s, err := d.source.At(ctx, all)
			if err != nil {
				err = fmt.Errorf("endpoints of revision %d not read: %w", all, err)
			}
			d.health.Set("endpoints", err)
			if err != nil {
				d.log.Warn("endpoints not read", zap.Error(err))
				again = time.After(retryRead)
			} else {
				d.take(s)
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

func (d *directory) take(s *configclient.Snapshot) {
	before, _ := d.Newest()
	identities := map[outbound.Key]bool{}
	targets := &delivery.Targets{Revision: s.Revision, ByName: map[string]delivery.Target{}, Disabled: map[string]bool{}}
	for _, t := range s.Targets(webhook.Channel.Target) {
		if t.Value.(*webhook.Endpoint).Status == webhook.Disabled {
			targets.Disabled[t.Name] = true
			continue
		}
		// A draft gets nothing planned, and what was planned before still goes.
		e := newEndpoint(t, s, d.denied)
		if e.broken != nil {
			d.log.Warn("endpoint can't be sent to", zap.String("endpoint", t.Name), zap.Error(e.broken))
		}
		if before != nil {
			if known, ok := before.ByName[t.Name]; ok {
				e.answers = known.(*endpoint).answers
			}
		}
		identities[e.identity.Key()] = true
		targets.ByName[t.Name] = e
	}
	d.snapshot.Store(s)
	d.mu.Lock()
	d.targets = targets
	close(d.changed)
	d.changed = make(chan struct{})
	d.mu.Unlock()
	d.keep(identities)
}
