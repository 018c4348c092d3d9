package scenario

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// starting are the services that keep in Redis what they follow.
var starting = []string{"webhook", "email", "provision", "ingest", "safeguard", "trigger"}

// Config is away, and every other service is killed: they start with what they kept, as it was last changed, and follow again
// once config is back.
func TestStart_ServicesStartWithoutTheConfigurationService(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		s := openStarts(t, ctx, f)
		config := s.members["config"]
		if got := s.round(); got != allOf("first") {
			t.Fatalf("the first configuration: %+v", got)
		}
		s.change("second")
		s.follow("second")

		if err := config.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		for _, name := range starting {
			s.members[name].Kill()
		}
		for _, name := range starting {
			if err := s.members[name].Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range starting {
			if err := s.members[name].Ready(ctx); err != nil {
				t.Fatal(err)
			}
		}
		s.dial()
		for range 2 {
			if got := s.round(); got != allOf("second") {
				t.Errorf("without config: %+v", got)
			}
		}

		if err := config.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := config.Ready(ctx); err != nil {
			t.Fatal(err)
		}
		s.change("third")
		s.follow("third")
	})
}

// started is an installation whose configuration shows in what it does.
type started struct {
	t       *testing.T
	ctx     context.Context
	fleet   *fleet.Fleet
	members map[string]*fleet.Member
	in      *inboxes
	hooks   *fleet.Receiver

	ingest    ingestv1.IngestServiceClient
	decisions provisionv1.ProvisioningServiceClient
	config    grpc.ClientConnInterface
	rounds    int
	// asked counts requests to the hook.
	asked atomic.Int64
	// signing is the key of the e-mail's signatures, in PEM.
	signing string
}

// Secrets of the configuration, beside those of the receivers and the key of signatures.
const (
	secretHeader   = "hush-header-of-the-endpoint"
	secretBearer   = "hush-token-of-the-hook"
	secretPassword = "hush-password-of-the-mail-server"
)

// secrets are all that the configuration holds, in every form in which they could lie in clear.
func (s *started) secrets() (all []string) {
	for _, clear := range []string{secretHeader, secretBearer, secretPassword, s.signing, s.in.Secret, s.hooks.Secret, s.fleet.Key} {
		forms := []string{clear}
		if key, signs := strings.CutPrefix(clear, "whsec_"); signs {
			raw, err := base64.StdEncoding.DecodeString(key)
			if err != nil {
				s.t.Fatal(err)
			}
			forms = []string{key, string(raw)}
		}
		if block, _ := pem.Decode([]byte(clear)); block != nil {
			forms = []string{strings.Split(clear, "\n")[1], string(block.Bytes)}
		}
		for _, form := range forms {
			text, err := json.Marshal(form)
			if err != nil {
				s.t.Fatal(err)
			}
			all = append(all, form, string(text[1:len(text)-1]), hex.EncodeToString([]byte(form)))
			// Behind 0, 1 and 2 other bytes base64 has other digits.
			for before := range 3 {
				digits := base64.RawStdEncoding.EncodeToString(append(make([]byte, before), form...))
				all = append(all, digits[(before*8+5)/6:len(digits)-1])
			}
		}
	}
	return all
}

// shown is by which version of the configuration a round went: the endpoint that a webhook came to, the text of an e-mail, the hook
// that has decided.
type shown struct{ endpoint, text, hook string }

func allOf(version string) shown { return shown{version, version, version} }

// openStarts starts every service with the first version of the configuration.
func openStarts(t *testing.T, ctx context.Context, f *fleet.Fleet) *started {
	t.Helper()
	s := &started{t: t, ctx: ctx, fleet: f, in: openInboxes(t, ctx)}
	var err error
	s.hooks, err = fleet.StartReceiver(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]string{"decision": "forbid", "reason": r.URL.Path[1:]}) // the caller may have gone
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.hooks.Close() })
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		t.Fatal(err)
	}
	s.signing = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	policy := s.in.policy()
	policy.Ports = append(policy.Ports, s.hooks.Policy().GetPorts()...)
	resources := append([]proto.Message{
		&configv1.Tenant{Name: "tenants/acme", Outbound: policy, Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(0)}},
		&configv1.ClassOfService{Name: "tenants/acme/classesOfService/roamer", DataSafeguard: &configv1.DataSafeguardOption{
			Limit: &money.Money{CurrencyCode: "EUR", Units: 1}, RenewalDay: 1,
		}},
		&configv1.SmtpProfile{
			Name: "tenants/acme/smtpProfiles/care", Host: "127.0.0.1", Port: int32(s.in.mailPort), Tls: configv1.SmtpTls_SMTP_TLS_NONE, FromAddress: "care@acme.example",
			Dkim: &configv1.Dkim{Domain: "acme.example", Selector: "s1", Key: s.signing},
		},
		&configv1.SmtpProfile{
			Name: "tenants/acme/smtpProfiles/spare", Host: "127.0.0.1", Port: int32(s.in.mailPort), FromAddress: "care@acme.example",
			Username: "care", Password: secretPassword,
		},
	}, s.versioned("first")...)
	services := append([]string{"config"}, starting...)
	s.members = start(t, ctx, f, services, func() int64 {
		revision, err := f.Configure(ctx, resources...)
		if err != nil {
			t.Fatal(err)
		}
		return revision
	})
	if s.config, err = f.Dial(f.Configuration()); err != nil {
		t.Fatal(err)
	}
	s.dial()
	return s
}

// versioned are the resources that show their version.
func (s *started) versioned(version string) []proto.Message {
	return []proto.Message{
		&configv1.Endpoint{
			Name: "tenants/acme/endpoints/crm", Url: s.in.URL("/" + version), Secrets: []string{s.in.Secret}, CaCertificates: s.in.Authority,
			Headers: []*configv1.CustomHeader{{Name: "X-Key", Value: secretHeader}},
		},
		&configv1.Notification{
			Name: "tenants/acme/notifications/reached", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"safeguard.reached"}},
			Actions: []*configv1.Action{
				{Name: "hook", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/crm"}}},
				{Name: "mail", Action: &configv1.Action_Email{Email: &configv1.EmailAction{
					SmtpProfile: "tenants/acme/smtpProfiles/care", Recipients: &configv1.EmailRecipients{Addresses: []string{"noc@acme.example"}},
					Subject: "{{.Subscriber.Msisdn}}", Text: version,
				}}},
			},
		},
		&configv1.Hook{
			Name: "tenants/acme/hooks/check", EventTypes: []string{"client.created"}, FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_ALLOW,
			Timeout: durationpb.New(10 * time.Second),
			Handler: &configv1.Hook_Http{Http: &configv1.HttpHandler{
				Url: s.hooks.URL("/" + version), CaCertificates: s.hooks.Authority, Secrets: []string{s.hooks.Secret},
				Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_Bearer{Bearer: &configv1.BearerAuth{Token: secretBearer}}},
			}},
		},
	}
}

// change makes the resources another version.
func (s *started) change(version string) {
	s.t.Helper()
	for _, resource := range s.versioned(version) {
		var err error
		switch r := resource.(type) {
		case *configv1.Endpoint:
			_, err = configv1.NewEndpointServiceClient(s.config).UpdateEndpoint(s.ctx, &configv1.UpdateEndpointRequest{
				Endpoint: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"url"}},
			})
		case *configv1.Notification:
			_, err = configv1.NewNotificationServiceClient(s.config).UpdateNotification(s.ctx, &configv1.UpdateNotificationRequest{
				Notification: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"actions"}},
			})
		case *configv1.Hook:
			_, err = configv1.NewHookServiceClient(s.config).UpdateHook(s.ctx, &configv1.UpdateHookRequest{
				Hook: r, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"http"}},
			})
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// follow runs rounds until one goes by a version alone.
func (s *started) follow(version string) {
	s.t.Helper()
	var last shown
	wait(s.t, s.ctx, "everything goes by the "+version+" version", func() bool {
		last = s.round()
		return last == allOf(version)
	})
	s.t.Logf("%d rounds until the %s version", s.rounds, version)
}

// dial finds ingest and provision where they listen now.
func (s *started) dial() {
	s.t.Helper()
	ingest, err := s.fleet.Dial(s.members["ingest"].Address("grpc"))
	if err != nil {
		s.t.Fatal(err)
	}
	provision, err := s.fleet.Dial(s.members["provision"].Address("grpc"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.ingest, s.decisions = ingestv1.NewIngestServiceClient(ingest), provisionv1.NewProvisioningServiceClient(provision)
}

// round sends a new subscriber past the limit, which a webhook and an e-mail report, and asks for a decision.
func (s *started) round() (got shown) {
	s.t.Helper()
	number := s.exceed()
	got.endpoint, got.text = s.reported(number)
	got.hook = s.decide(number).GetReason()
	return got
}

// exceed sends a new subscriber past the limit.
func (s *started) exceed() (number string) {
	s.t.Helper()
	s.rounds++
	number = fmt.Sprintf("4477009%05d", s.rounds)
	s.publish(number, "subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "roamer"})
	s.publish(number, "usage.charged", &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: &money.Money{CurrencyCode: "EUR", Units: 2},
	})
	return number
}

// reported waits until a webhook and an e-mail report the limit of a subscriber, and returns by which version they did.
func (s *started) reported(number string) (endpoint, text string) {
	s.t.Helper()
	s.in.until(s.t, s.ctx, "the limit of "+number+" is reported", func(webhooks []webhook, letters []letter) bool {
		w := slices.IndexFunc(webhooks, func(w webhook) bool { return w.Subject == number })
		l := slices.IndexFunc(letters, func(l letter) bool { return l.Subject == number })
		if w < 0 || l < 0 {
			return false
		}
		endpoint, text = webhooks[w].path[1:], letters[l].Text
		return true
	})
	return endpoint, text
}

// decide asks for a decision under a key.
func (s *started) decide(key string) *provisionv1.DecideResponse {
	s.t.Helper()
	data, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{Id: "7401", Name: "Nord"}})
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := s.decisions.Decide(s.ctx, &provisionv1.DecideRequest{Tenant: "acme", Type: "client.created", ObjectId: "7401", Data: data, IdempotencyKey: key})
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

func (s *started) publish(number, kind string, data proto.Message) {
	s.t.Helper()
	packed, err := anypb.New(data)
	if err == nil {
		_, err = s.ingest.Publish(s.ctx, &ingestv1.PublishRequest{Event: &eventv1.Event{
			Id: number + " " + kind, Source: "mediation", Type: kind, Tenant: "acme", Subject: number, Time: timestamppb.Now(), Data: packed,
		}})
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
