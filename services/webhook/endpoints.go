package webhook

import (
	"fmt"
	"net/netip"
	"reflect"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/receiver"
)

// endpoint is one as requests need it; made once for each revision that changed it.
type endpoint struct {
	receiver.Receiver
	// tenant is the one that it was made for.
	tenant *configclient.Tenant
	print  uint64
	// answers bounds what is kept of responses; it is the same over all revisions.
	answers  *answers
	schedule *schedule.Schedule
}

func (e *endpoint) Concurrency() int    { return e.Endpoint.Concurrency }
func (e *endpoint) Fingerprint() uint64 { return e.print }
func (e *endpoint) Rate() int           { return e.Endpoint.Rate }
func (e *endpoint) Paused() bool        { return e.Endpoint.Paused }
func (e *endpoint) Activation() int64   { return e.Endpoint.Activation }

func (e *endpoint) Schedule() *schedule.Schedule { return e.schedule }

func newEndpoint(t *configclient.Target, s *configclient.Snapshot, denied []netip.Prefix) *endpoint {
	e := t.Value.(*webhook.Endpoint)
	tenant, ok := s.Tenant(e.Tenant)
	if !ok {
		tenant = &configclient.Tenant{}
	}
	out := prepare(e, tenant, denied)
	switch {
	case !ok:
		out.Broken = fmt.Errorf("tenant %s does not exist", e.Tenant)
	case t.Unreadable != nil:
		out.Broken = t.Unreadable
	}
	return out
}

// prepare makes an endpoint of a tenant ready. Where it is Broken an attempt fails and is
// repeated, since the next revision may mend it.
func prepare(e *webhook.Endpoint, tenant *configclient.Tenant, denied []netip.Prefix) *endpoint {
	out := &endpoint{
		Receiver: receiver.New(e, tenant.Outbound, denied), tenant: tenant, answers: &answers{}, schedule: service.Schedule(e.Schedule),
	}
	out.print = fingerprint(e, tenant)
	return out
}

// isOf reports whether an endpoint is one of a revision, as it was read and prepared before: decoding a revision makes every
// resource anew, and its partitions have work only with those that changed.
func (e *endpoint) isOf(t *configclient.Target, s *configclient.Snapshot) bool {
	tenant, ok := s.Tenant(e.Tenant)
	if !ok || e.Broken != nil || t.Unreadable != nil {
		return false
	}
	of, _ := t.Value.(*webhook.Endpoint)
	return (e.Endpoint == of || reflect.DeepEqual(e.Endpoint, of)) && (e.tenant == tenant || reflect.DeepEqual(e.tenant.Outbound, tenant.Outbound))
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
	receiver.AuthParts(e, part)
	part(fmt.Appendf(nil, "%s %v %v", e.Timeout, e.Phases, tenant.Outbound))
	return max(h.Sum64(), 1)
}

// newDirectory makes the endpoints of each revision ready; keep learns which identities they have.
func newDirectory(source service.Revisions, denied []netip.Prefix, keep func(map[outbound.Key]bool), health loop.Health, log *zap.Logger) *service.Directory[*endpoint] {
	ready := func(t *configclient.Target, s *configclient.Snapshot, before *endpoint) (*endpoint, bool) {
		if t.Value.(*webhook.Endpoint).Status == webhook.Disabled {
			return nil, false
		}
		if before != nil && before.isOf(t, s) {
			return before, true
		}
		// A draft gets nothing planned, and what was planned before still goes.
		e := newEndpoint(t, s, denied)
		if e.Broken != nil {
			log.Warn("endpoint can't be sent to", zap.String("endpoint", t.Name), zap.Error(e.Broken))
		}
		if before != nil {
			e.answers = before.answers
		}
		return e, true
	}
	taken := func(all []*endpoint) {
		identities := map[outbound.Key]bool{}
		for _, e := range all {
			identities[e.Identity.Key()] = true
		}
		keep(identities)
	}
	return service.NewDirectory(source, webhook.Channel.Target, ready, taken, health, log)
}
