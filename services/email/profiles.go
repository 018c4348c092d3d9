package email

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/delivery/service"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// profile is one as attempts need it; made once for each revision.
type profile struct {
	*email.Profile
	server   smtp.Server
	policy   outbound.Policy // the tenant's
	key      smtp.Key
	schedule *schedule.Schedule
	print    uint64
	// refusals are those in a row that name a policy; the same over all revisions that change nothing about the server.
	refusals *refusals
	// broken is why nothing can be sent: the attempt fails with it, and is repeated, since the next revision may mend it.
	broken error
}

func (p *profile) Concurrency() int             { return p.Connections }
func (p *profile) Rate() int                    { return p.Profile.Rate }
func (p *profile) Paused() bool                 { return p.Profile.Paused }
func (p *profile) Activation() int64            { return p.Profile.Activation }
func (p *profile) Schedule() *schedule.Schedule { return p.schedule }

// Fingerprint is over all that may turn a failure into a success: the server, how it is reached, who sends and signs, and whether it can be used at all.
func (p *profile) Fingerprint() uint64 { return p.print }

func (p *profile) fingerprint() uint64 {
	hash := sha256.New()
	_, _ = hash.Write(p.key[:]) // never fails
	from := p.From.Mailbox()
	if p.ReturnPath != nil {
		from += " " + p.ReturnPath.Mailbox()
	}
	_, _ = hash.Write([]byte(from))
	if p.DKIM != nil {
		public, _ := x509.MarshalPKIXPublicKey(p.DKIM.Key.Public()) // fails for no key that signs
		_, _ = fmt.Fprintf(hash, " %s %s %x", p.DKIM.Domain, p.DKIM.Selector, public)
	}
	if p.broken != nil {
		_, _ = hash.Write([]byte(p.broken.Error()))
	}
	return max(binary.BigEndian.Uint64(hash.Sum(nil)), 1)
}

// maker makes profiles ready.
type maker struct {
	denied []netip.Prefix
	proxy  *outbound.Proxy
	hello  string
}

// dialTimeout bounds the look-up of a name and connecting; RFC 5321 has no limit for them.
const dialTimeout = 30 * time.Second

var modes = map[email.TLS]smtp.Mode{
	email.Required: smtp.Required, email.Opportunistic: smtp.Opportunistic, email.Implicit: smtp.Implicit, email.None: smtp.None,
}

// ready makes a profile of a tenant ready.
func (m *maker) ready(p *email.Profile, tenant *configclient.Tenant) *profile {
	out := &profile{Profile: p, policy: tenant.Outbound, schedule: service.Schedule(p.Schedule), refusals: &refusals{}}
	if err := m.locate(out); err != nil {
		out.broken = fmt.Errorf("the profile's certificates can't be read: %w", err)
	}
	out.print = out.fingerprint()
	return out
}

// locate sets the server of a profile, and the key of its connections.
func (m *maker) locate(out *profile) error {
	p, policy := out.Profile, out.policy.WithPorts(email.Ports...)
	policy.Denied = append(policy.Denied[:len(policy.Denied):len(policy.Denied)], m.denied...)
	identity, err := outbound.NewIdentity(p.Tenant, policy, p.CACertificates, nil)
	if err != nil {
		return err
	}
	conf, err := outbound.TLSConfig(p.CACertificates, nil)
	if err != nil {
		return err
	}
	out.server = smtp.Server{
		Dialer: outbound.NewDialer(policy, dialTimeout, m.proxy), Host: p.Host, Port: p.Port, Mode: modes[p.TLS], TLS: conf, Hello: m.hello,
		Credentials: smtp.Credentials{Username: p.Username, Password: string(p.Password), Mechanism: smtp.Mechanism(p.Mechanism)},
	}
	id := identity.Key()
	hash := sha256.New()
	for _, part := range [][]byte{
		id[:], []byte(p.Name), []byte(p.Host), fmt.Append(nil, p.Port), {byte(p.TLS)}, []byte(p.Username), []byte(p.Password), []byte(p.Mechanism),
	} {
		_, _ = fmt.Fprintf(hash, "%d:", len(part)) // never fails
		_, _ = hash.Write(part)
	}
	hash.Sum(out.key[:0])
	return nil
}

// newDirectory makes the profiles of each revision ready; keep learns the keys of their connections.
func newDirectory(source service.Revisions, m *maker, keep func(map[smtp.Key]bool), health loop.Health, log *zap.Logger) *service.Directory[*profile] {
	ready := func(t *configclient.Target, s *configclient.Snapshot, before *profile) (*profile, bool) {
		p := t.Value.(*email.Profile)
		if p.Status == channel.Disabled {
			return nil, false
		}
		tenant, known := s.Tenant(p.Tenant)
		if !known {
			tenant = &configclient.Tenant{}
		}
		if before != nil && before.broken == nil && known && t.Unreadable == nil &&
			reflect.DeepEqual(before.Profile, p) && reflect.DeepEqual(before.policy, tenant.Outbound) {
			return before, true
		}
		out := m.ready(p, tenant)
		switch {
		case !known:
			out.broken = fmt.Errorf("tenant %s does not exist", p.Tenant)
		case t.Unreadable != nil:
			out.broken = t.Unreadable
		}
		if out.broken != nil {
			out.print = out.fingerprint()
			log.Warn("profile can't be sent with", zap.String("endpoint", t.Name), zap.Error(out.broken))
		}
		if before != nil && before.Fingerprint() == out.Fingerprint() {
			out.refusals = before.refusals
		}
		return out, true
	}
	taken := func(all []*profile) {
		keys := map[smtp.Key]bool{}
		for _, p := range all {
			keys[p.key] = true
		}
		keep(keys)
	}
	return service.NewDirectory(source, email.Channel.Target, ready, taken, health, log)
}
