package provision

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

func TestHandler_MethodIsPOSTUnlessItIsPUTAndTheConnectionStays(t *testing.T) {
	onServers(t, func(f *fixture) {
		want := map[string]configv1.HttpMethod{
			http.MethodPost: configv1.HttpMethod_HTTP_METHOD_POST, http.MethodPut: configv1.HttpMethod_HTTP_METHOD_PUT, "": configv1.HttpMethod_HTTP_METHOD_UNSPECIFIED,
		}
		asked := map[string]*handling{}
		for name, method := range want {
			h, hook := f.http("by-"+strings.ToLower(name), echo)
			hook.GetHttp().Method = method
			asked[name] = h
		}
		f.save()
		r := f.start()
		for _, key := range []string{"k1", "k2"} {
			f.decided(r, nord(key))
		}
		for name, h := range asked {
			if name == "" {
				name = http.MethodPost
			}
			if !slices.Equal(h.methods, []string{name, name}) || h.from[0] != h.from[1] {
				f.Errorf("asked by %v from %v, want %s on one connection", h.methods, h.from, name)
			}
		}
	})
}

func TestHandler_PrivateAddressesAndPortsOnlyUnderTheOperatorsSwitch(t *testing.T) {
	for name, row := range map[string]struct {
		tenant func(*configv1.OutboundPolicy)
		denied []string
		text   string
	}{
		"all is allowed":                       {tenant: func(*configv1.OutboundPolicy) {}},
		"no networks":                          {tenant: func(p *configv1.OutboundPolicy) { p.Networks = nil }, text: "127.0.0.1"},
		"no ports":                             {tenant: func(p *configv1.OutboundPolicy) { p.Ports = nil }, text: "port"},
		"no plain HTTP":                        {tenant: func(p *configv1.OutboundPolicy) { p.PlainHttp = false }, text: "http"},
		"no policy at all":                     {tenant: func(p *configv1.OutboundPolicy) { proto.Reset(p) }, text: "http"},
		"a network that is denied to everyone": {tenant: func(*configv1.OutboundPolicy) {}, denied: []string{"127.0.0.0/8"}, text: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(f *fixture) {
				h, _ := f.http("private", echo)
				f.tenant = func(t *configv1.Tenant) { row.tenant(t.GetOutbound()) }
				f.cfg.Outbound.Denied = row.denied
				f.save()
				res := f.decided(f.start(), nord("k"))
				got := res.GetHandlers()[0]
				if row.text == "" {
					if got.GetOutcome() != provisionv1.Outcome_OUTCOME_ALLOWED || h.asked() != 1 {
						f.Errorf("got %v", res)
					}
					return
				}
				if got.GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT || !strings.Contains(got.GetText(), row.text) || h.asked() != 0 ||
					res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_FAILURE_POLICY {
					f.Errorf("asked %d times, got %v", h.asked(), res)
				}
			})
		})
	}
}

// ofSize is a client whose message takes so many bytes.
func ofSize(t testing.TB, size int) *anypb.Any {
	t.Helper()
	c := &eventv1.ClientChanged{Client: &eventv1.Account{Id: "7401", Name: strings.Repeat("x", size-64)}}
	c.Client.Name += strings.Repeat("x", size-proto.Size(c))
	data, err := anypb.New(c)
	if err != nil || len(data.GetValue()) != size {
		t.Fatalf("%d bytes, %v", len(data.GetValue()), err)
	}
	return data
}

func TestDecide_DataAndKeyUpToTheirBounds(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, _ := f.http("echo", echo)
		f.save()
		r := f.start()
		most := nord(strings.Repeat("k", 128))
		most.Data = ofSize(f, 256<<10)
		if res := f.decided(r, most); res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || res.GetHandlers()[0].GetOutcome() != provisionv1.Outcome_OUTCOME_ALLOWED {
			f.Errorf("got %v", res.GetHandlers())
		}
		if got := f.events(1)[0].Data.(*eventv1.ClientChanged); len(got.GetClient().GetName()) < 255<<10 {
			f.Errorf("published is a name of %d bytes", len(got.GetClient().GetName()))
		}
		for field, change := range map[string]func(*provisionv1.DecideRequest){
			"data":            func(req *provisionv1.DecideRequest) { req.Data = ofSize(f, 256<<10+1) },
			"idempotency_key": func(req *provisionv1.DecideRequest) { req.IdempotencyKey = strings.Repeat("k", 129) },
		} {
			req := nord("k")
			change(req)
			_, err := f.decide(r, req)
			wantFault(f, err, fault.Invalid, "", field)
			if n := len(fault.ViolationsOf(fault.FromGRPC(err))); n != 1 {
				f.Errorf("%s: %d violations: %v", field, n, err)
			}
		}
		if h.asked() != 1 {
			f.Errorf("asked %d times", h.asked())
		}
	})
}

func TestDecide_TheSubjectOfSubscriberTypesIsTheMSISDN(t *testing.T) {
	onServers(t, func(f *fixture) {
		h, hook := f.http("echo", echo)
		hook.EventTypes = []string{"subscriber.activated"}
		f.save()
		req := nord("k")
		data, err := anypb.New(&eventv1.SubscriberActivated{ClassOfService: "roamer"})
		if err != nil {
			f.Fatal(err)
		}
		req.Type, req.ObjectId, req.Data = "subscriber.activated", "393331234567", data
		f.decided(f.start(), req)
		if e := f.events(1)[0]; e.Subject != "393331234567" || e.Type != "subscriber.activated" || e.Source != "tollgate/provision" {
			f.Errorf("published is %+v", e)
		}
		var q struct{ Event map[string]any }
		if err := json.Unmarshal(h.bodies[0], &q); err != nil || q.Event["object_id"] != 393331234567.0 {
			f.Errorf("asked %s, %v", h.bodies[0], err)
		}
	})
}

func TestHandler_AuthKinds(t *testing.T) {
	onServers(t, func(f *fixture) {
		tokens, token := f.http("token", answering(http.StatusOK, `{"access_token":"t0ken-of-oauth","token_type":"Bearer","expires_in":3600}`))
		f.hooks = nil
		// What authenticates is in no log, also where a handler sends it back.
		mirror := func(w http.ResponseWriter, _ []byte) {
			_, _ = w.Write([]byte(`{"decision":"allow","reason":"hushhush t0ken-of-oauth"}`))
		}
		want := map[string]string{}
		all := map[string]*handling{}
		for id, row := range map[string]struct {
			auth         *configv1.EndpointAuth
			header, sent string
		}{
			"none":   {nil, "Authorization", ""},
			"basic":  {&configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Basic{Basic: &configv1.BasicAuth{Username: "u", Password: "hushhush"}}}, "Authorization", "Basic dTpodXNoaHVzaA=="},
			"bearer": {&configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: "hushhush"}}}, "Authorization", "Bearer hushhush"},
			"header": {&configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Header{Header: &configv1.HeaderAuth{Name: "X-Api-Key", Value: "hushhush"}}}, "X-Api-Key", "hushhush"},
			"oauth2": {&configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Oauth2{Oauth2: &configv1.OAuth2Auth{
				TokenUrl: token.GetHttp().GetUrl(), ClientId: "tollgate", ClientSecret: "hushhush",
			}}}, "Authorization", "Bearer t0ken-of-oauth"},
		} {
			answer := mirror
			if id == "none" {
				answer = echo
			}
			h, hook := f.http(id, answer)
			hook.GetHttp().Auth = row.auth
			all[id], want[id] = h, row.header+": "+row.sent
		}
		certificate, shown := f.certificate()
		f.save()
		r := f.start()
		for _, key := range []string{"k1", "k2"} {
			res := f.decided(r, nord(key))
			if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || len(res.GetHandlers()) != len(want)+1 {
				f.Fatalf("got %v", res)
			}
		}
		for id, h := range all {
			name, _, _ := strings.Cut(want[id], ":")
			for _, head := range h.heads {
				if got := name + ": " + head.Get(name); got != want[id] {
					f.Errorf("%s: got %q, want %q", id, got, want[id])
				}
			}
		}
		for _, id := range []string{"basic", "bearer", "header", "oauth2"} {
			all[id].mu.Lock()
			all[id].answer = answering(http.StatusOK, `{"decision":"hushhush t0ken-of-oauth"}`)
			all[id].mu.Unlock()
			res, err := f.test(r, &provisionv1.TestRunRequest{Name: "tenants/acme/hooks/" + id})
			if got := res.GetReason() + res.GetResult().GetText(); err != nil || res.GetResult().GetOutcome() != provisionv1.Outcome_OUTCOME_FAULT ||
				!strings.Contains(got, "****") || strings.Contains(got, "hushhush") {
				f.Errorf("%s: %q, %v, %v", id, got, res, err)
			}
		}
		if tokens.asked() != 1 {
			f.Errorf("%d tokens were asked for", tokens.asked())
		}
		if got := shown(); len(got) == 0 || slices.ContainsFunc(got, func(c string) bool { return c != certificate }) {
			f.Error("the certificate is not shown")
		}
		for _, x := range f.executions(2 * (len(want) + 1)) {
			if got := string(x.GetReceived()) + x.GetResult().GetText(); strings.Contains(got, "hushhush") ||
				strings.HasSuffix(x.GetResult().GetHandler(), "oauth2") && strings.Contains(got, "t0ken") {
				f.Errorf("logged is %s", got)
			}
		}
	})
}

// certificate adds a hook whose handler wants the client's certificate; shown are those that clients have shown.
func (f *fixture) certificate() (want string, shown func() []string) {
	f.Helper()
	got := make(chan string, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- string(r.TLS.PeerCertificates[0].Raw) }))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	f.Cleanup(server.Close)
	own := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		f.Fatal(err)
	}
	u, err := url.Parse(server.URL)
	if err != nil {
		f.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 32)
	if err != nil {
		f.Fatal(err)
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	f.ports = append(f.ports, uint32(port))
	f.hooks = append(f.hooks, &configv1.Hook{
		Name: "tenants/acme/hooks/certificate", EventTypes: []string{"client.created"}, FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID,
		Timeout: durationpb.New(5 * time.Second),
		Handler: &configv1.Hook_Http{Http: &configv1.HttpHandler{
			Url: server.URL + "/", CaCertificates: chain,
			Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{
				CertificateChain: chain, PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
			}}},
		}},
	})
	return string(own.Certificate[0]), func() (all []string) {
		for len(got) > 0 {
			all = append(all, <-got)
		}
		return all
	}
}
