package email

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/email/smtp"
)

// published is a source of one revision after the other.
type published struct {
	s       *configclient.Snapshot
	changed chan struct{}
}

func (p *published) Newest() (apply, all int64, ok bool) { return 0, 0, p.s != nil }
func (p *published) Current(int64) bool                  { return true }
func (p *published) Changed() <-chan struct{}            { return p.changed }
func (p *published) At(context.Context, int64) (*configclient.Snapshot, error) {
	return p.s, nil
}

func dkimOf(t *testing.T, first byte) *configv1.Dkim {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = first
	der := must[[]byte](t)(x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed)))
	return &configv1.Dkim{Domain: "operator.example", Selector: "s1", Key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

// A revision decodes every profile anew. One that is as before is the same target; what a change means for what waits, for
// the connections and for the count of refusals depends on the field.
func TestProfiles_EachChangeHasItsConsequences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { eachChangeHasItsConsequences(t) })
}

func eachChangeHasItsConsequences(t *testing.T) {
	const name = "tenants/sample/smtpProfiles/main"
	plain := &configv1.SmtpProfile{
		Name: name, Host: "mail.example", FromAddress: "billing@operator.example", Username: "u", Password: "p", Dkim: dkimOf(t, 1),
		Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, Activation: 1,
	}
	var kept map[smtp.Key]bool
	source := &published{changed: make(chan struct{})}
	d := newDirectory(source, &maker{hello: "localhost"}, func(keys map[smtp.Key]bool) { kept = keys }, daemon.NewHealth(), zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go d.Follow(ctx)
	synctest.Wait()
	revision := int64(0)
	publish := func(p *configv1.SmtpProfile, policy *configv1.OutboundPolicy) *profile {
		revision++
		s := &configv1.Snapshot{Revision: revision, Tenants: []*configv1.Tenant{{Name: "tenants/sample", Outbound: policy}}}
		if p != nil {
			s.SmtpProfiles = append(s.SmtpProfiles, p)
		}
		source.s = configclient.Decode(s)
		source.changed <- struct{}{}
		synctest.Wait()
		return d.Target(name)
	}
	for what, c := range map[string]struct {
		change func(*configv1.SmtpProfile)
		policy *configv1.OutboundPolicy
		// same target; same fingerprint: what waits goes on waiting, and refusals are counted on; same key: connections stay.
		same, fingerprint, key bool
	}{
		"nothing":                   {change: func(*configv1.SmtpProfile) {}, same: true, fingerprint: true, key: true},
		"its rate":                  {change: func(p *configv1.SmtpProfile) { p.RatePerSecond = 5 }, fingerprint: true, key: true},
		"a pause":                   {change: func(p *configv1.SmtpProfile) { p.Paused = true }, fingerprint: true, key: true},
		"its reply-to":              {change: func(p *configv1.SmtpProfile) { p.ReplyTo = "desk@operator.example" }, fingerprint: true, key: true},
		"its sender":                {change: func(p *configv1.SmtpProfile) { p.FromAddress = "x@operator.example" }, key: true},
		"its return path":           {change: func(p *configv1.SmtpProfile) { p.ReturnPath = "x@operator.example" }, key: true},
		"its signature":             {change: func(p *configv1.SmtpProfile) { p.Dkim = dkimOf(t, 2) }, key: true},
		"its selector":              {change: func(p *configv1.SmtpProfile) { p.Dkim.Selector = "s2" }, key: true},
		"no signature":              {change: func(p *configv1.SmtpProfile) { p.Dkim = nil }, key: true},
		"its host":                  {change: func(p *configv1.SmtpProfile) { p.Host = "mx.example" }},
		"its port":                  {change: func(p *configv1.SmtpProfile) { p.Port = 587 }},
		"its tls":                   {change: func(p *configv1.SmtpProfile) { p.Tls = configv1.SmtpTls_SMTP_TLS_NONE }},
		"its user":                  {change: func(p *configv1.SmtpProfile) { p.Username = "v" }},
		"its password":              {change: func(p *configv1.SmtpProfile) { p.Password = "q" }},
		"its mechanism":             {change: func(p *configv1.SmtpProfile) { p.Mechanism = configv1.SmtpMechanism_SMTP_MECHANISM_LOGIN }},
		"its authorities":           {change: func(p *configv1.SmtpProfile) { _, p.CaCertificates = selfSigned(t, nil) }},
		"where its tenant may send": {change: func(*configv1.SmtpProfile) {}, policy: &configv1.OutboundPolicy{Networks: []string{"10.0.0.0/8"}}},
	} {
		before := publish(proto.CloneOf(plain), nil)
		next := proto.CloneOf(plain)
		c.change(next)
		after := publish(next, c.policy)
		if (after == before) != c.same || (after.Fingerprint() == before.Fingerprint()) != c.fingerprint || (after.key == before.key) != c.key {
			t.Errorf("%s: same target %t, fingerprint %t, key %t", what, after == before, after.Fingerprint() == before.Fingerprint(), after.key == before.key)
		}
		if (after.refusals == before.refusals) != c.fingerprint || len(kept) != 1 || !kept[after.key] {
			t.Errorf("%s: refusals counted on %t, connections kept of %d", what, after.refusals == before.refusals, len(kept))
		}
	}
	publish(plain, nil)
	disabled := proto.CloneOf(plain)
	disabled.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED
	if p := publish(disabled, nil); p != nil || len(kept) != 0 {
		t.Errorf("disabled: %v, connections kept of %d", p, len(kept))
	}
	if targets, _ := d.Newest(); !targets.Disabled[name] || len(targets.ByName) != 0 {
		t.Errorf("targets %+v", targets)
	}
	draft := proto.CloneOf(plain)
	draft.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT
	if p := publish(draft, nil); p == nil || p.broken != nil {
		t.Errorf("what was planned before goes by a draft: %+v", p)
	}
	if p := publish(nil, nil); p != nil {
		t.Errorf("deleted: %v", p)
	}
}

// A profile that can't be used is there with the reason: its attempts fail with it, and what waits goes once it is mended.
func TestProfiles_OneThatCannotBeUsedHasTheReason(t *testing.T) {
	plain := func() *configv1.SmtpProfile {
		return &configv1.SmtpProfile{Name: "tenants/sample/smtpProfiles/main", Host: "mail.example", FromAddress: "billing@operator.example", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE}
	}
	sample := []*configv1.Tenant{{Name: "tenants/sample"}}
	for reason, s := range map[string]*configv1.Snapshot{
		"tenant sample does not exist": {SmtpProfiles: []*configv1.SmtpProfile{plain()}},
		"certificates can't be read":   {Tenants: sample, SmtpProfiles: []*configv1.SmtpProfile{func() *configv1.SmtpProfile { p := plain(); p.CaCertificates = "none"; return p }()}},
		"mechanism 99 is not known":    {Tenants: sample, SmtpProfiles: []*configv1.SmtpProfile{func() *configv1.SmtpProfile { p := plain(); p.Mechanism = 99; return p }()}},
		"dkim.key must be PEM with one": {Tenants: sample, SmtpProfiles: []*configv1.SmtpProfile{func() *configv1.SmtpProfile {
			p := plain()
			p.Dkim = &configv1.Dkim{Domain: "a.example", Selector: "s", Key: "none"}
			return p
		}()}},
		"is not exactly one address": {Tenants: sample, SmtpProfiles: []*configv1.SmtpProfile{func() *configv1.SmtpProfile { p := plain(); p.FromAddress = "a@b.example, c@d.example"; return p }()}},
	} {
		t.Run(reason, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &published{s: configclient.Decode(s), changed: make(chan struct{})}
				d := newDirectory(source, &maker{hello: "localhost"}, func(map[smtp.Key]bool) {}, daemon.NewHealth(), zap.NewNop())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go d.Follow(ctx)
				synctest.Wait()
				p := d.Target("tenants/sample/smtpProfiles/main")
				if p == nil || p.broken == nil || !strings.Contains(p.broken.Error(), reason) {
					t.Fatalf("%+v", p)
				}
				before := p.Fingerprint()
				source.s = configclient.Decode(&configv1.Snapshot{Tenants: sample, SmtpProfiles: []*configv1.SmtpProfile{plain()}})
				source.changed <- struct{}{}
				synctest.Wait()
				if p = d.Target("tenants/sample/smtpProfiles/main"); p.broken != nil || p.Fingerprint() == before {
					t.Errorf("mended: %v, the same fingerprint %t", p.broken, p.Fingerprint() == before)
				}
			})
		})
	}
}
