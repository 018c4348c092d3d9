package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// pkcs8 is a private key in PEM.
func pkcs8(t *testing.T, key any) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must[[]byte](t)(x509.MarshalPKCS8PrivateKey(key))}))
}

func ed25519Key(t *testing.T) string {
	t.Helper()
	return pkcs8(t, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
}

func aProfile(t *testing.T, id string) *configv1.SmtpProfile {
	t.Helper()
	return &configv1.SmtpProfile{
		Name: "tenants/acme/smtpProfiles/" + id, Host: "mail.example.com", FromAddress: "billing@example.com", FromName: "Acme",
		Username: "acme", Password: "hush", Dkim: &configv1.Dkim{Domain: "example.com", Selector: "s1", Key: ed25519Key(t)},
	}
}

func (r *running) profile(id string) *configv1.SmtpProfile {
	r.t.Helper()
	return must[*configv1.SmtpProfile](r.t)(r.profiles.CreateSmtpProfile(r.t.Context(), &configv1.CreateSmtpProfileRequest{SmtpProfile: aProfile(r.t, id)}))
}

func mail(code, profile string) *configv1.Notification {
	n := aNotification(code, "")
	name := ""
	if profile != "" {
		name = "tenants/acme/smtpProfiles/" + profile
	}
	n.Actions[0].Action = &configv1.Action_Email{Email: &configv1.EmailAction{
		SmtpProfile: name, Recipients: &configv1.EmailRecipients{Roles: []string{"admin"}}, Subject: "Alert", Text: "Look at it.",
	}}
	return n
}

func TestSmtpProfile_IsShownWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	created := r.profile("main")
	got := must[*configv1.SmtpProfile](t)(r.profiles.GetSmtpProfile(ctx, &configv1.GetSmtpProfileRequest{Name: created.GetName()}))
	page := must[*configv1.ListSmtpProfilesResponse](t)(r.profiles.ListSmtpProfiles(ctx, &configv1.ListSmtpProfilesRequest{Parent: "tenants/acme"}))
	parts := must[configv1.ConfigWatchService_SnapshotClient](t)(r.outside.Snapshot(ctx, &configv1.SnapshotRequest{}))
	outside := must[*configv1.Snapshot](t)(configclient.Collect(parts, nil))
	for where, p := range map[string]*configv1.SmtpProfile{"create": created, "get": got, "list": page.GetSmtpProfiles()[0], "snapshot": outside.GetSmtpProfiles()[0]} {
		if p.GetPassword() != "****" || p.GetDkim().GetKey() != "****" || p.GetUsername() != "acme" {
			t.Errorf("%s: %v", where, p)
		}
	}
	if p := r.snapshot(0).GetSmtpProfiles()[0]; p.GetPassword() != "hush" || p.GetDkim().GetKey() != ed25519Key(t) || p.GetActivation() != 1 {
		t.Errorf("stored %v", p)
	}
	planned := must[configv1.ConfigWatchService_SnapshotClient](t)(r.watching.Snapshot(ctx, &configv1.SnapshotRequest{Planned: true}))
	if stripped := must[*configv1.Snapshot](t)(configclient.Collect(planned, nil)); strings.Contains(stripped.String(), "hush") || strings.Contains(stripped.String(), "PRIVATE") || len(stripped.GetSmtpProfiles()) != 1 {
		t.Errorf("planning reads %v", stripped.GetSmtpProfiles())
	}
	// What was shown and is sent back changes nothing; beside a change it keeps what is stored.
	update := func(p *configv1.SmtpProfile, paths ...string) (*configv1.SmtpProfile, error) {
		q := &configv1.UpdateSmtpProfileRequest{SmtpProfile: p}
		if paths != nil {
			q.UpdateMask = mask(paths...)
		}
		return r.profiles.UpdateSmtpProfile(ctx, q)
	}
	if same := must[*configv1.SmtpProfile](t)(update(got)); same.GetMetadata().GetRevision() != got.GetMetadata().GetRevision() {
		t.Error("an echo is a change")
	}
	got.FromName, got.Dkim.Selector = "Billing", "s2"
	must[*configv1.SmtpProfile](t)(update(got))
	if p := r.snapshot(0).GetSmtpProfiles()[0]; p.GetPassword() != "hush" || p.GetDkim().GetKey() != ed25519Key(t) || p.GetFromName() != "Billing" {
		t.Errorf("stored %v", p)
	}
	// The password does not go to another server; the key only signs.
	for what, change := range map[string]*configv1.SmtpProfile{
		"host": {Host: "else.example.com"}, "port": {Port: 587}, "tls": {Tls: configv1.SmtpTls_SMTP_TLS_NONE},
	} {
		change.Name = got.GetName()
		_, err := update(change, what)
		refused(t, err, fault.Invalid, "SECRET_REQUIRED")
		if diff := cmp.Diff([]string{"smtp_profile.password"}, fields(err)); diff != "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v %s", what, err, diff)
		}
		change.Password = "hush"
		must[*configv1.SmtpProfile](t)(update(change, what, "password"))
	}
}

func TestSmtpProfile_EveryFaultIsListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	create := func(p *configv1.SmtpProfile) error {
		_, err := r.profiles.CreateSmtpProfile(t.Context(), &configv1.CreateSmtpProfileRequest{SmtpProfile: p})
		return err
	}
	err := create(&configv1.SmtpProfile{
		Name: "tenants/acme/smtpProfiles/x", DisplayName: strings.Repeat("ä", 201), Host: "mail example com", Port: 65536, Tls: 9, CaCertificates: "none",
		Username: "a\r\nb", Mechanism: 9, FromAddress: "a@example.com, b@example.com", FromName: "Acme\r\nBcc: all@example.com", ReturnPath: "<>", ReplyTo: "Jane <jane@example.com>",
		Dkim: &configv1.Dkim{Domain: "Example.com", Selector: "", Key: "****"}, Connections: 513, RatePerSecond: 10_001,
		Schedule: &configv1.Schedule{TimeZone: "Mars/Olympus"}, Status: 9,
	})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	got := fields(err)
	slices.Sort(got)
	want := []string{
		"smtp_profile.ca_certificates", "smtp_profile.connections", "smtp_profile.display_name", "smtp_profile.dkim.domain", "smtp_profile.dkim.key",
		"smtp_profile.dkim.selector", "smtp_profile.from_address", "smtp_profile.from_name", "smtp_profile.host", "smtp_profile.mechanism", "smtp_profile.password",
		"smtp_profile.port", "smtp_profile.rate_per_second", "smtp_profile.reply_to", "smtp_profile.return_path", "smtp_profile.schedule.hours",
		"smtp_profile.schedule.time_zone", "smtp_profile.status", "smtp_profile.tls", "smtp_profile.username",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	weak := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 1024))
	for name, tc := range map[string]struct {
		change func(*configv1.SmtpProfile)
		field  string
	}{
		"no host":                        {func(p *configv1.SmtpProfile) { p.Host = "" }, "host"},
		"a private address":              {func(p *configv1.SmtpProfile) { p.Host = "10.0.0.1" }, "host"},
		"loopback":                       {func(p *configv1.SmtpProfile) { p.Host = "::1" }, "host"},
		"loopback in IPv6":               {func(p *configv1.SmtpProfile) { p.Host = "::ffff:127.0.0.1" }, "host"},
		"a port that is not one of mail": {func(p *configv1.SmtpProfile) { p.Host, p.Port = "8.8.8.8", 22 }, "host"},
		"a host with a port":             {func(p *configv1.SmtpProfile) { p.Host = "mail.example.com:25" }, "host"},
		"a host past its bound":          {func(p *configv1.SmtpProfile) { p.Host = strings.Repeat("a.", 127) + "com" }, "host"},
		"a negative port":                {func(p *configv1.SmtpProfile) { p.Port = -1 }, "port"},
		"no sender":                      {func(p *configv1.SmtpProfile) { p.FromAddress = "" }, "from_address"},
		"a password that nobody sends":   {func(p *configv1.SmtpProfile) { p.Username = "" }, "username"},
		"a user without a password":      {func(p *configv1.SmtpProfile) { p.Password = "" }, "password"},
		"a masked password":              {func(p *configv1.SmtpProfile) { p.Password = "****" }, "password"},
		"a mechanism that is never used": {func(p *configv1.SmtpProfile) { p.Username, p.Password, p.Mechanism = "", "", 1 }, "mechanism"},
		"no connections":                 {func(p *configv1.SmtpProfile) { p.Connections = -1 }, "connections"},
		"a negative rate":                {func(p *configv1.SmtpProfile) { p.RatePerSecond = -1 }, "rate_per_second"},
		"a key that is none":             {func(p *configv1.SmtpProfile) { p.Dkim.Key = "secret" }, "dkim.key"},
		"a public key":                   {func(p *configv1.SmtpProfile) { p.Dkim.Key = strings.ReplaceAll(p.Dkim.Key, "PRIVATE", "PUBLIC") }, "dkim.key"},
		"a key past its bound":           {func(p *configv1.SmtpProfile) { p.Dkim.Key = strings.Repeat("k", 17_000) }, "dkim.key"},
		"a password past its bound":      {func(p *configv1.SmtpProfile) { p.Password = strings.Repeat("p", 4097) }, "password"},
		"a user past its bound":          {func(p *configv1.SmtpProfile) { p.Username = strings.Repeat("p", 257) }, "username"},
		"a sender past its bound":        {func(p *configv1.SmtpProfile) { p.FromAddress = strings.Repeat("a", 321) }, "from_address"},
		"a selector past its bound":      {func(p *configv1.SmtpProfile) { p.Dkim.Selector = strings.Repeat("s", 64) }, "dkim.selector"},
		"a certificate that is no PEM":   {func(p *configv1.SmtpProfile) { p.CaCertificates = "x" }, "ca_certificates"},
	} {
		p := aProfile(t, "y")
		tc.change(p)
		err := create(p)
		refused(t, err, fault.Invalid, fault.ReasonOf(err))
		if diff := cmp.Diff([]string{"smtp_profile." + tc.field}, fields(err)); diff != "" || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for name, change := range map[string]func(*configv1.SmtpProfile){
		"implicit":      func(p *configv1.SmtpProfile) { p.Tls, p.Host = configv1.SmtpTls_SMTP_TLS_IMPLICIT, "8.8.8.8" },
		"in-clear":      func(p *configv1.SmtpProfile) { p.Tls = configv1.SmtpTls_SMTP_TLS_NONE },
		"opportunistic": func(p *configv1.SmtpProfile) { p.Tls, p.Mechanism = configv1.SmtpTls_SMTP_TLS_OPPORTUNISTIC, 4 },
		"at-its-bounds": func(p *configv1.SmtpProfile) {
			p.Connections, p.RatePerSecond, p.Password = 512, 10_000, strings.Repeat("p", 4096)
		},
		"without-a-user": func(p *configv1.SmtpProfile) { p.Username, p.Password, p.Dkim = "", "", nil },
		"rsa":            func(p *configv1.SmtpProfile) { p.Dkim.Key = pkcs8(t, weak) },
	} {
		p := aProfile(t, name)
		change(p)
		if err := create(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSmtpProfile_DefaultOfATenant(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	create := func(n *configv1.Notification) error {
		_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: n})
		return err
	}
	defaults := func(id string) error {
		_, err := r.tenants.UpdateTenant(ctx, &configv1.UpdateTenantRequest{
			Tenant: &configv1.Tenant{Name: "tenants/acme", DefaultSmtpProfile: id}, UpdateMask: mask("default_smtp_profile"),
		})
		return err
	}
	remove := func(id string) error {
		_, err := r.profiles.DeleteSmtpProfile(ctx, &configv1.DeleteSmtpProfileRequest{Name: "tenants/acme/smtpProfiles/" + id})
		return err
	}
	want := func(err error, kind fault.Kind, reason string, texts ...string) {
		t.Helper()
		refused(t, err, kind, reason)
		for _, text := range texts {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%v does not have %q", err, text)
			}
		}
	}
	want(create(mail("n", "")), fault.Invalid, "CONFIG_INVALID", "notification.actions[0].email.smtp_profile: is required: tenants/acme has no default_smtp_profile")
	want(create(mail("n", "none")), fault.Invalid, "CONFIG_INVALID", "tenants/acme/smtpProfiles/none does not exist")
	want(defaults("none"), fault.Invalid, "CONFIG_INVALID", "tenant.default_smtp_profile: tenants/acme/smtpProfiles/none does not exist")
	want(defaults("tenants/acme/smtpProfiles/none"), fault.Invalid, "CONFIG_INVALID", "tenant.default_smtp_profile: ")
	want(defaults(strings.Repeat("x", 64)), fault.Invalid, "CONFIG_INVALID", "tenant.default_smtp_profile: ")
	r.profile("main")
	r.profile("other")
	if err := defaults("main"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{create(mail("by-default", "")), create(mail("named", "other"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want(remove("main"), fault.Conflict, "SMTP_PROFILE_IN_USE", "default_smtp_profile of tenants/acme")
	want(remove("other"), fault.Conflict, "SMTP_PROFILE_IN_USE", "tenants/acme/notifications/named")
	want(defaults(""), fault.Invalid, "CONFIG_INVALID", "tenant.default_smtp_profile: is required", "tenants/acme/notifications/by-default")
	must[*configv1.Notification](t)(r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: "tenants/acme/notifications/by-default"}))
	must[*configv1.Notification](t)(r.notes.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: "tenants/acme/notifications/named"}))
	if err := defaults(""); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"main", "other"} {
		if err := remove(id); err != nil {
			t.Error(err)
		}
	}
}

func TestSmtpProfile_HealthIsReported(t *testing.T) {
	t.Parallel()
	r := start(t)
	ctx := t.Context()
	r.tenant("acme")
	p := r.profile("main")
	report := failing(1)
	answer := must[*configv1.ReportHealthResponse](t)(r.profileService.ReportHealth(ctx, &configv1.ReportHealthRequest{
		Reports: []*configv1.EndpointHealthReport{{Name: p.GetName(), Health: report}},
	}))
	got := must[*configv1.SmtpProfile](t)(r.profiles.GetSmtpProfile(ctx, &configv1.GetSmtpProfileRequest{Name: p.GetName()}))
	want := proto.CloneOf(report)
	want.ReportTime = got.GetHealth().GetReportTime()
	if diff := cmp.Diff(want, got.GetHealth(), protocmp.Transform()); diff != "" || len(answer.GetRefused()) > 0 {
		t.Error(answer, diff)
	}
}
