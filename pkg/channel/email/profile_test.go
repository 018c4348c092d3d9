package email

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func edKey(t testing.TB) string {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pkcs8(t, key)
}

func profile(edit func(*configv1.SmtpProfile)) *configv1.SmtpProfile {
	p := &configv1.SmtpProfile{
		Name: "tenants/acme/smtpProfiles/main", Host: "mail.example", Username: "billing", Password: "not-a-real-one", FromAddress: "billing@operator.example", FromName: "Operator",
	}
	if edit != nil {
		edit(p)
	}
	return p
}

func TestProfile_EveryFaultIsListed(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(weak)}))
	dkim := func(domain, selector, key string) func(*configv1.SmtpProfile) {
		return func(p *configv1.SmtpProfile) {
			p.Dkim = &configv1.Dkim{Domain: domain, Selector: selector, Key: key}
		}
	}
	host := func(host string) func(*configv1.SmtpProfile) {
		return func(p *configv1.SmtpProfile) { p.Host = host }
	}
	for name, tc := range map[string]struct {
		edit func(*configv1.SmtpProfile)
		want []string
	}{
		"the plain one is right":          {nil, nil},
		"a key of Ed25519 is right":       {dkim("operator.example", "s1._x", edKey(t)), []string{"dkim.selector"}},
		"a key of RSA in PKCS 1 is right": {dkim("operator.example", "s1", pkcs1), nil},
		"a key of RSA in PKCS 8 is right": {dkim("operator.example", "s1", pkcs8(t, weak)), nil},
		"another algorithm signs nothing": {dkim("operator.example", "s1", pkcs8(t, ec)), []string{"dkim.key: must be of RSA or Ed25519"}},
		"no key":                          {dkim("", "", "x"), []string{"dkim.domain: is required", "dkim.key: must be PEM", "dkim.selector: is required"}},
		"a domain is in lower case":       {dkim("Operator.example", "s1", edKey(t)+"x"), []string{"dkim.domain: must be labels", "dkim.key: must be PEM with one block"}},
		"a host is a name":                {host("http://mail.example:25/"), []string{"host: must be a name of the DNS or an IP address"}},
		"a host is within the policy":     {host("10.0.0.1"), []string{"host: "}},
		"nor is it loopback":              {host("::1"), []string{"host: "}},
		"a public address is right":       {host("93.184.215.14"), nil},
		"nothing is there":                {func(p *configv1.SmtpProfile) { *p = configv1.SmtpProfile{} }, []string{"from_address: is required", "host: is required"}},
		"an AUTH that can't happen": {func(p *configv1.SmtpProfile) {
			p.Username = ""
			p.Mechanism = configv1.SmtpMechanism_SMTP_MECHANISM_PLAIN
		}, []string{
			"mechanism: must not be set without a username", "username: is required with a password",
		}},
		"a user without a password": {func(p *configv1.SmtpProfile) { p.Password = "" }, []string{"password: is required"}},
		"everything wrong is listed at once": {func(p *configv1.SmtpProfile) {
			p.Port, p.Tls, p.Mechanism, p.CaCertificates, p.Connections, p.RatePerSecond, p.Status = 70000, 9, 9, "x", 513, -1, 9
			p.FromAddress, p.ReturnPath, p.ReplyTo, p.FromName, p.Password = "a@b.example, c@d.example", "Ana <a@b.example>", "x", "a\r\nb", "a\x00b"
			p.Schedule = &configv1.Schedule{TimeZone: "Nowhere/Else"}
		}, []string{
			"ca_certificates", "connections: must be", "from_address: is not exactly one", "from_name: must be on one line", "mechanism: 9 is not known", "password: must be without control", "port: must be",
			"rate_per_second", "reply_to: is not exactly one", "return_path: must be an address alone", "schedule.hours", "schedule.time_zone", "status: 9", "tls: 9",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var f fault.Violations
			policy, err := outbound.PolicyOf(nil, false, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			validate(profile(tc.edit), policy, &f)
			got := map[string]bool{}
			for _, v := range fault.ViolationsOf(f.Err("X")) {
				got[v.String()] = true
			}
			if len(got) != len(tc.want) {
				t.Errorf("%v, want %q", got, tc.want)
			}
			for _, part := range tc.want {
				found := false
				for v := range got {
					found = found || strings.HasPrefix(v, part)
				}
				if !found {
					t.Errorf("%v lacks %q", got, part)
				}
			}
		})
	}
}

func TestProfile_SecretsAreNeverShown(t *testing.T) {
	key := edKey(t)
	stored := profile(func(p *configv1.SmtpProfile) {
		p.Dkim = &configv1.Dkim{Domain: "operator.example", Selector: "s1", Key: key}
	})
	shown := proto.Clone(stored).(*configv1.SmtpProfile)
	mask(shown)
	if text := shown.String(); strings.Contains(text, "not-a-real-one") || strings.Contains(text, "PRIVATE KEY") || !masked(shown) || masked(stored) {
		t.Errorf("shown as %s", text)
	}
	back := proto.Clone(shown).(*configv1.SmtpProfile)
	unmask(back, stored)
	if !proto.Equal(back, stored) {
		t.Errorf("sent back it is %s", back)
	}
	// What was never stored stays masked, and is refused.
	back = proto.Clone(shown).(*configv1.SmtpProfile)
	unmask(back, profile(func(p *configv1.SmtpProfile) { p.Password = "" }))
	var f fault.Violations
	validate(back, outbound.Policy{}, &f)
	if err := fmt.Sprint(f.Err("X")); !strings.Contains(err, "password: is masked") || !strings.Contains(err, "dkim.key: is masked") {
		t.Error(err)
	}
	decoded, faults := Decode(stored)
	if faults != nil || decoded.DKIM == nil || decoded.Password != "not-a-real-one" {
		t.Errorf("%+v %v", decoded, faults)
	}
	if text := fmt.Sprintf("%v %+v %#v", decoded, *decoded, decoded.Password); strings.Contains(text, "not-a-real-one") {
		t.Errorf("logs show %s", text)
	}
	// The password goes to the server alone; another server, or another way to reach it, is another receiver.
	to := func(edit func(*configv1.SmtpProfile)) string { return credentials(profile(edit))[0].To }
	if a, b, c := to(nil), to(func(p *configv1.SmtpProfile) { p.Host = "evil.example" }), to(func(p *configv1.SmtpProfile) { p.Tls = configv1.SmtpTls_SMTP_TLS_NONE }); a == b || a == c {
		t.Errorf("%s %s %s", a, b, c)
	}
}

func TestProfile_PlanningReadsLittle(t *testing.T) {
	p := profile(nil)
	little := planned(p).(*configv1.SmtpProfile)
	if text := little.String(); strings.Contains(text, "not-a-real-one") || strings.Contains(text, "mail.example") {
		t.Errorf("where others may read lies %s", text)
	}
	all, _ := Decode(p)
	some, faults := Decode(little)
	if faults != nil || all.Planning() != some.Planning() || all.Planning().Draft || all.Planning().Audience != channel.Contact {
		t.Errorf("%+v %+v %v", all.Planning(), some.Planning(), faults)
	}
	for name, edit := range map[string]func(*configv1.SmtpProfile){
		"from":   func(p *configv1.SmtpProfile) { p.FromAddress = "x@other.example" },
		"status": func(p *configv1.SmtpProfile) { p.Status = configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED },
	} {
		if !replans(p, profile(edit)) {
			t.Errorf("%s is read when planning", name)
		}
	}
	if replans(p, profile(func(p *configv1.SmtpProfile) {
		p.Host, p.Status = "x.example", configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
	})) {
		t.Error("the host is read when sending")
	}
}

func TestProfile_DefaultsByTLS(t *testing.T) {
	for tls, port := range map[configv1.SmtpTls]uint16{0: 25, configv1.SmtpTls_SMTP_TLS_IMPLICIT: 465, configv1.SmtpTls_SMTP_TLS_NONE: 25} {
		p, faults := Decode(profile(func(p *configv1.SmtpProfile) { p.Tls = tls }))
		if faults != nil || p.Port != port || p.Connections != DefaultConnections || tls == 0 && p.TLS != Required {
			t.Errorf("%+v %v", p, faults)
		}
	}
	p := profile(nil)
	assign(p, nil, func(string) bool { return false })
	if p.GetActivation() != 1 {
		t.Error(p.GetActivation())
	}
	again := profile(nil)
	assign(again, p, func(field string) bool { return field == "status" })
	if again.GetActivation() != 2 {
		t.Error(again.GetActivation())
	}
}
