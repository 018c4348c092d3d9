package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const validSecret = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"

// valid is an endpoint that is changed.
func valid(change func(*configv1.Endpoint)) *configv1.Endpoint {
	e := &configv1.Endpoint{Name: "tenants/a/endpoints/e", Url: "https://hooks.example.com/in", Secrets: []string{validSecret}}
	change(e)
	return e
}

// violations are "field: description" of what is wrong with an endpoint.
func violations(e *configv1.Endpoint) []string {
	var f fault.Violations
	validate(e, outbound.Policy{}, &f)
	var all []string
	for _, v := range fault.ViolationsOf(f.Err("CONFIG_INVALID")) {
		all = append(all, v.Field+": "+v.Description)
	}
	return all
}

func TestValidate_RefusesURLs(t *testing.T) {
	for url, want := range map[string]string{
		"http://hooks.example.com/":            "must begin with https://",
		"ftp://hooks.example.com/":             "must begin with https://",
		"https://hooks.example.com:443/":       "must not name port 443",
		"https://hooks.example.com:8443/":      "must not name port 8443",
		"https://hooks.example.com:/":          "must not end its host with a colon",
		"https://user:pass@hooks.example.com/": "must not hold a user or a password",
		"https://user@hooks.example.com/":      "must not hold a user or a password",
		"https://hooks.example.com/#part":      "must not have a fragment",
		"https://10.1.2.3/":                    "10.0.0.0/8",
		"https://127.0.0.1/":                   "127.0.0.0/8",
		"https://169.254.169.254/latest":       "169.254.0.0/16",
		"https://2130706433/":                  "must name a host in letters",
		"https://0x7f000001/":                  "must name a host in letters",
		"https://0x7f.0.0.1/":                  "must name a host in letters",
		"https://017700000001/":                "must name a host in letters",
		"https://0177.0.0.1/":                  "must name a host in letters",
		"https://127.1/":                       "must name a host in letters",
		"https://127.0.0.1./":                  "must name a host in letters",
		"https://[::1]/":                       "::1",
		"https://[::ffff:10.1.2.3]/":           "10.0.0.0/8",
		"https://[::ffff:a01:203]/":            "10.0.0.0/8",
		"https://[::10.1.2.3]/":                "10.0.0.0/8",
		"https://[64:ff9b::a01:203]/":          "64:ff9b::/96",
		"https://[fe80::1%25eth0]/":            "zone",
		"https://[fd00::1]/":                   "is not",
		"https://bücher.example/":              "xn-- form",
		"https://１２７.0.0.1/":                   "xn-- form",
		"https://hooks.example.com/" + strings.Repeat("x", 2049-len("https://hooks.example.com/")): "must be at most 2048 characters, has 2049",
		"https://hooks.example.com/\r\nX: y": "must be a URL such as",
		"":                                   "is required",
	} {
		got := violations(valid(func(e *configv1.Endpoint) { e.Url = url }))
		if len(got) != 1 || !strings.HasPrefix(got[0], "url: ") || want != "is not" && !strings.Contains(got[0], want) {
			t.Errorf("%.60s: %q, want %q", url, got, want)
		}
		// The URL that tokens come from has the same rules.
		got = violations(valid(func(e *configv1.Endpoint) {
			e.Auth = &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: &configv1.OAuth2Auth{TokenUrl: url, ClientId: "c", ClientSecret: "s"}}}
		}))
		if len(got) != 1 || !strings.HasPrefix(got[0], "auth.oauth2.token_url: ") || want != "is not" && !strings.Contains(got[0], want) {
			t.Errorf("%.60s as token URL: %q, want %q", url, got, want)
		}
	}
	longest := "https://hooks.example.com/" + strings.Repeat("x", 2048-len("https://hooks.example.com/"))
	for _, url := range []string{longest, "https://8.8.8.8/x?y=z", "https://[2606:4700::1111]/", "https://xn--bcher-kva.example/"} {
		if got := violations(valid(func(e *configv1.Endpoint) { e.Url = url })); got != nil {
			t.Errorf("%.60s: %q", url, got)
		}
	}
}

func TestValidate_RefusesHeadersSecretsAndNumbers(t *testing.T) {
	header := func(name, value string) func(*configv1.Endpoint) {
		return func(e *configv1.Endpoint) { e.Headers = []*configv1.CustomHeader{{Name: name, Value: value}} }
	}
	secrets := func(all ...string) func(*configv1.Endpoint) {
		return func(e *configv1.Endpoint) { e.Secrets = all }
	}
	phases := func(timeout time.Duration, p *configv1.PhaseTimeouts) func(*configv1.Endpoint) {
		return func(e *configv1.Endpoint) {
			if e.PhaseTimeouts = p; timeout > 0 {
				e.Timeout = durationpb.New(timeout)
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(*configv1.Endpoint)
		want   []string
	}{
		"a header of any token":           {header("X_!#$%&'*+.^`|~-9", "\tv v"), []string{"headers[0].value: " + noBlanks}},
		"a header without a name":         {header("", "v"), []string{"headers[0].name: must be 1 to 100 letters, digits and hyphens"}},
		"a header with a colon":           {header("X:", "v"), []string{"headers[0].name: must be 1 to 100 letters, digits and hyphens"}},
		"a header of another alphabet":    {header("X-é", "v"), []string{"headers[0].name: must be 1 to 100 letters, digits and hyphens"}},
		"the signature of transatel":      {header("x-tsl-SIGNATURE-256", "v"), []string{"headers[0].name: x-tsl-signature-256 is set by us"}},
		"a header of ocsio":               {header("X-Ocs-Io-transaction-id", "v"), []string{"headers[0].name: x-ocs-io-transaction-id is set by us"}},
		"an attribute of CloudEvents":     {header("CE-id", "v"), []string{"headers[0].name: ce-id is set by us"}},
		"trace context":                   {header("TraceParent", "v"), []string{"headers[0].name: traceparent is set by us"}},
		"a line break":                    {header("X", "a\r\nB: c"), []string{"headers[0].value: must be at most 4096 printable ASCII characters"}},
		"another alphabet":                {header("X", "é"), []string{"headers[0].value: must be at most 4096 printable ASCII characters"}},
		"4,097 characters":                {header("X", strings.Repeat("x", 4097)), []string{"headers[0].value: must be at most 4096 printable ASCII characters"}},
		"no secret":                       {secrets(), []string{"secrets: must have at least one: every request is signed"}},
		"one secret twice":                {secrets(validSecret, validSecret), []string{"secrets[1]: is there twice"}},
		"a secret with a line break":      {secrets(validSecret + "\n"), []string{`secrets[0]: must be base64 after "whsec_"`}},
		"a secret with stray bits":        {secrets("whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQR=="), []string{`secrets[0]: must be base64 after "whsec_"`}},
		"a secret that is too short":      {secrets("whsec_QUFB"), []string{"secrets[0]: must be the base64 of 24 to 64 bytes"}},
		"a rate below 0":                  {func(e *configv1.Endpoint) { e.RatePerSecond = -1 }, []string{"rate_per_second: must be from 1 to 10000, or 0 for no bound"}},
		"a rate above 10,000":             {func(e *configv1.Endpoint) { e.RatePerSecond = 10_001 }, []string{"rate_per_second: must be from 1 to 10000, or 0 for no bound"}},
		"concurrency above 512":           {func(e *configv1.Endpoint) { e.Concurrency = 513 }, []string{"concurrency: must be from 1 to 512, or 0 for the default"}},
		"a timeout below a second":        {phases(time.Millisecond, nil), []string{"timeout: must be from 1s to 1m0s"}},
		"a phase of no time":              {phases(0, &configv1.PhaseTimeouts{Connect: durationpb.New(0)}), []string{"phase_timeouts.connect: must be from 100ms to 15s, the endpoint's timeout"}},
		"a phase longer than the timeout": {phases(2*time.Second, &configv1.PhaseTimeouts{TlsHandshake: durationpb.New(3 * time.Second)}), []string{"phase_timeouts.tls_handshake: must be from 100ms to 2s, the endpoint's timeout"}},
		"phases as long as the timeout":   {phases(2*time.Second, &configv1.PhaseTimeouts{Response: durationpb.New(2 * time.Second), Connect: durationpb.New(100 * time.Millisecond)}), nil},
		"the fastest":                     {func(e *configv1.Endpoint) { e.RatePerSecond, e.Concurrency = 10_000, 512 }, nil},
	} {
		if diff := cmp.Diff(tc.want, violations(valid(tc.change))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestValidate_RefusesSchedulesThatNeverOpen(t *testing.T) {
	hours := func(start, end string, days ...int32) *configv1.Hours {
		return &configv1.Hours{Start: start, End: end, Days: days}
	}
	for name, tc := range map[string]struct {
		schedule *configv1.Schedule
		want     []string
	}{
		"none":                 {nil, nil},
		"no hours":             {&configv1.Schedule{TimeZone: "Europe/Berlin"}, []string{"schedule.hours: must have at least one: without it nothing would ever be sent"}},
		"a zone there is not":  {&configv1.Schedule{TimeZone: "Mars/Base", Hours: []*configv1.Hours{hours("08:00", "17:00")}}, []string{"schedule.time_zone: must be the IANA name of a zone, such as Europe/Berlin"}},
		"the machine's zone":   {&configv1.Schedule{TimeZone: "Local", Hours: []*configv1.Hours{hours("08:00", "17:00")}}, []string{"schedule.time_zone: must be the IANA name of a zone, such as Europe/Berlin"}},
		"the whole day":        {&configv1.Schedule{Hours: []*configv1.Hours{hours("00:00", "24:00")}}, nil},
		"over midnight":        {&configv1.Schedule{TimeZone: "Asia/Kolkata", Hours: []*configv1.Hours{hours("22:00", "06:00", 1, 7), hours("23:59", "24:00", 3)}}, nil},
		"an empty span":        {&configv1.Schedule{Hours: []*configv1.Hours{hours("08:00", "08:00")}}, []string{"schedule.hours[0].end: must not be the start: the span would be empty; 00:00 to 24:00 is the whole day"}},
		"midnight to midnight": {&configv1.Schedule{Hours: []*configv1.Hours{hours("00:00", "00:00")}}, []string{"schedule.hours[0].end: must not be the start: the span would be empty; 00:00 to 24:00 is the whole day"}},
		"bad days and all else": {&configv1.Schedule{TimeZone: "x", Hours: []*configv1.Hours{hours("8:00", "25:00", 0, 8, 1, 1, -1), hours("24:00", "08:60"), hours("", "+1:00")}}, []string{
			"schedule.time_zone: must be the IANA name of a zone, such as Europe/Berlin",
			"schedule.hours[0].days[0]: must be from 1 for Monday to 7 for Sunday, is 0",
			"schedule.hours[0].days[1]: must be from 1 for Monday to 7 for Sunday, is 8",
			"schedule.hours[0].days[3]: 1 is there twice",
			"schedule.hours[0].days[4]: must be from 1 for Monday to 7 for Sunday, is -1",
			"schedule.hours[0].start: must be a time from 00:00 to 23:59, such as 08:30",
			"schedule.hours[0].end: must be a time from 00:00 to 24:00, such as 17:30",
			"schedule.hours[1].start: must be a time from 00:00 to 23:59, such as 08:30",
			"schedule.hours[1].end: must be a time from 00:00 to 24:00, such as 17:30",
			"schedule.hours[2].start: must be a time from 00:00 to 23:59, such as 08:30",
			"schedule.hours[2].end: must be a time from 00:00 to 24:00, such as 17:30",
		}},
	} {
		if diff := cmp.Diff(tc.want, violations(valid(func(e *configv1.Endpoint) { e.Schedule = tc.schedule }))); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// certificate is a certificate of an issuer, in PEM, and its key.
func certificate(t *testing.T, subject, issuer string, expired bool) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	if expired {
		until = time.Now().Add(-time.Hour)
	}
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template(subject), template(issuer), &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func TestValidate_RefusesAuthentication(t *testing.T) {
	leaf, key := certificate(t, "leaf", "authority", false)
	old, oldKey := certificate(t, "old", "authority", true)
	authority, otherKey := certificate(t, "authority", "authority", false)
	basic := func(username, password string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: username, Password: password}}}
	}
	bearer := func(token string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: token}}}
	}
	header := func(name, value string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Header{Header: &configv1.HeaderAuth{Name: name, Value: value}}}
	}
	oauth := func(o *configv1.OAuth2Auth) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: o}}
	}
	client := func(chain, key string) *configv1.EndpointAuth {
		return &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{CertificateChain: chain, PrivateKey: key}}}
	}
	block := func(kind, of string) string {
		b, _ := pem.Decode([]byte(of))
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b.Bytes}))
	}
	const chainField, keyField = "auth.client_certificate.certificate_chain: ", "auth.client_certificate.private_key: "
	for name, tc := range map[string]struct {
		auth *configv1.EndpointAuth
		want []string
	}{
		"none":                    {nil, nil},
		"no kind":                 {&configv1.EndpointAuth{}, []string{"auth: must be basic, bearer, header, oauth2 or client_certificate"}},
		"basic":                   {basic("zoë quinn", "p:ss"), nil},
		"basic without anything":  {basic("", ""), []string{"auth.basic.username: is required", "auth.basic.password: is required"}},
		"a colon":                 {basic("a:b", "x"), []string{"auth.basic.username: must not have a colon: the password begins behind it"}},
		"control characters":      {basic("a\n", "\x7f"), []string{"auth.basic.username: must be characters that are no control characters", "auth.basic.password: must be characters that are no control characters"}},
		"a masked password":       {basic("a", "****"), []string{"auth.basic.password: is masked, and nothing of this kind is stored"}},
		"bearer":                  {bearer("a.b-c_d~e+f/g=="), nil},
		"bearer without a token":  {bearer(""), []string{"auth.bearer.token: is required"}},
		"a token with a blank":    {bearer("Bearer x"), []string{"auth.bearer.token: must be ASCII characters without blanks"}},
		"a key":                   {header("X-Api-Key", "k k"), nil},
		"a key without anything":  {header("", ""), []string{"auth.header.name: must be 1 to 100 letters, digits and hyphens", "auth.header.value: is required"}},
		"a key in our header":     {header("Webhook-Id", "\r\n"), []string{"auth.header.name: webhook-id is set by us", "auth.header.value: must be printable ASCII characters", "auth.header.value: " + noBlanks}},
		"oauth2":                  {oauth(&configv1.OAuth2Auth{TokenUrl: "https://id.example.com/token", ClientId: "c d", ClientSecret: "s", Scopes: []string{"a:b", "c"}, Audience: "https://x"}), nil},
		"oauth2 without anything": {oauth(&configv1.OAuth2Auth{}), []string{"auth.oauth2.token_url: is required", "auth.oauth2.client_id: is required", "auth.oauth2.client_secret: is required"}},
		"bad scopes": {oauth(&configv1.OAuth2Auth{TokenUrl: "https://id.example.com/", ClientId: "é", ClientSecret: "****", Scopes: []string{"a b", "", "a", "a"}, Audience: "\n"}), []string{
			"auth.oauth2.client_id: must be printable ASCII characters", "auth.oauth2.client_secret: is masked, and nothing of this kind is stored",
			`auth.oauth2.scopes[0]: must be ASCII characters without blanks, " and \`, "auth.oauth2.scopes[1]: is required", "auth.oauth2.scopes[3]: is there twice",
			"auth.oauth2.audience: must be printable ASCII characters",
		}},
		"a certificate":                {client(leaf, key), nil},
		"with its issuer":              {client(leaf+authority, key), nil},
		"one that has expired":         {client(old, oldKey), nil},
		"a certificate without a key":  {client(leaf, " "), []string{keyField + "is required"}},
		"nothing of a certificate":     {client("", ""), []string{chainField + "is required", keyField + "is required"}},
		"a certificate of another key": {client(leaf, otherKey), []string{keyField + "is not the key of the first certificate of the chain"}},
		"a chain in another order":     {client(authority+leaf, otherKey), []string{chainField + "must be in order: certificate 2 is not of the issuer of the one before"}},
		"a chain that is no PEM":       {client("x", key), []string{chainField + "must be PEM: no block after the 0. one"}},
		"a key in the chain":           {client(leaf+key, key), []string{chainField + `must hold certificates only: block 2 is "PRIVATE KEY"`}},
		"a key with a password":        {client(leaf, block("ENCRYPTED PRIVATE KEY", key)), []string{keyField + "must be without a password: openssl pkcs8 -topk8 -nocrypt takes it off"}},
		"a key in an older form":       {client(leaf, block("EC PRIVATE KEY", key)), []string{keyField + "must be PKCS #8: openssl pkcs8 -topk8 -nocrypt writes it so"}},
		"a key that is none":           {client(leaf, block("PRIVATE KEY", leaf)), []string{keyField + "must be a private key in PKCS #8"}},
		"two keys":                     {client(leaf, key+otherKey), []string{keyField + "must be PEM with one block"}},
		"a masked key":                 {client(leaf, "****"), []string{keyField + "is masked, and nothing of this kind is stored"}},
	} {
		got := violations(valid(func(e *configv1.Endpoint) { e.Auth = tc.auth }))
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for name, auth := range map[string]*configv1.EndpointAuth{"Authorization": bearer("x"), "x-api-KEY": header("X-Api-Key", "k")} {
		got := violations(valid(func(e *configv1.Endpoint) {
			e.Auth, e.Headers = auth, []*configv1.CustomHeader{{Name: name, Value: "v"}, {Name: "X-Other", Value: "v"}}
		}))
		if diff := cmp.Diff([]string{"headers[0].name: " + name + " is set by auth"}, got); diff != "" {
			t.Error(diff)
		}
	}
}

// What is shown, sent back and stored is what it was; what is of another kind is not filled in with its secret.
func TestMask_HidesEverySecretOfAuthenticationAndUnmaskRestoresIt(t *testing.T) {
	kinds := []*configv1.EndpointAuth{
		{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: "hush"}}},
		{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: "hush"}}},
		{Auth: &configv1.EndpointAuth_Header{Header: &configv1.HeaderAuth{Name: "X", Value: "hush"}}},
		{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: &configv1.OAuth2Auth{ClientId: "c", ClientSecret: "hush"}}},
		{Auth: &configv1.EndpointAuth_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{CertificateChain: "c", PrivateKey: "hush"}}},
	}
	oneof := (&configv1.EndpointAuth{}).ProtoReflect().Descriptor().Oneofs().ByName("auth")
	if n := oneof.Fields().Len(); n != len(kinds) {
		t.Errorf("%d kinds, %d are tested", n, len(kinds))
	}
	for i, auth := range kinds {
		stored := valid(func(e *configv1.Endpoint) { e.Auth = auth })
		shown := proto.CloneOf(stored)
		mask(shown)
		if strings.Contains(shown.String(), "hush") || !masked(shown) {
			t.Errorf("shown as %v", shown)
		}
		back := proto.CloneOf(shown)
		unmask(back, stored)
		if diff := cmp.Diff(stored.GetAuth().String(), back.GetAuth().String()); diff != "" {
			t.Error(diff)
		}
		other := valid(func(e *configv1.Endpoint) { e.Auth = kinds[(i+1)%len(kinds)] })
		unmask(shown, other)
		if text := shown.GetAuth().String(); strings.Contains(text, "hush") {
			t.Errorf("another kind's secret: %s", text)
		}
		decoded, faults := Decode(stored)
		if faults != nil || decoded.Auth == nil || strings.Contains(strings.Join([]string{fmt.Sprintf("%v", decoded), fmt.Sprintf("%+v", decoded), fmt.Sprintf("%#v", decoded.Auth)}, ""), "hush") {
			t.Errorf("%v %+v", faults, decoded.Auth)
		}
	}
	none := valid(func(e *configv1.Endpoint) { e.Auth = nil })
	unmask(none, valid(func(e *configv1.Endpoint) { e.Auth = kinds[0] }))
	if none.GetAuth() != nil {
		t.Errorf("what was taken out came back: %v", none.GetAuth())
	}
}

// Whoever sends an endpoint with twenty faults mends it once.
func TestValidate_NamesEveryViolationAtOnce(t *testing.T) {
	var got []string
	for _, v := range violations(&configv1.Endpoint{
		Name: "tenants/a/endpoints/e", Url: "http://user@10.0.0.1:99/#x", Profile: 99, Status: 99, PersonalData: 99, CaCertificates: "x",
		Headers:       []*configv1.CustomHeader{{Name: "Authorization", Value: "\n"}, {Name: "webhook-id"}},
		Timeout:       durationpb.New(time.Hour),
		PhaseTimeouts: &configv1.PhaseTimeouts{Connect: durationpb.New(1), TlsHandshake: durationpb.New(-1), Response: durationpb.New(2 * time.Hour)},
		Concurrency:   -1, RatePerSecond: -1,
		Schedule: &configv1.Schedule{TimeZone: "x", Hours: []*configv1.Hours{{Days: []int32{9}, Start: "x", End: "y"}}},
		Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: &configv1.OAuth2Auth{
			TokenUrl: "http://0x7f.1:99/", Scopes: []string{""}, Audience: "é",
		}}},
	}) {
		field, _, _ := strings.Cut(v, ": ")
		got = append(got, field)
	}
	want := []string{
		"url", "url", "url", "url", "url", "profile", "status", "personal_data", "secrets", "ca_certificates",
		"headers[0].name", "headers[0].value", "headers[1].name", "timeout",
		"phase_timeouts.connect", "phase_timeouts.tls_handshake", "phase_timeouts.response", "concurrency", "rate_per_second",
		"schedule.time_zone", "schedule.hours[0].days[0]", "schedule.hours[0].start", "schedule.hours[0].end",
		"auth.oauth2.token_url", "auth.oauth2.token_url", "auth.oauth2.token_url", "auth.oauth2.client_id", "auth.oauth2.client_secret",
		"auth.oauth2.scopes[0]", "auth.oauth2.audience",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
