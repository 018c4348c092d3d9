package cli

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// scriptedEndpoints answers by a script, and keeps the changes; the txtar scripts test the real service.
type scriptedEndpoints struct {
	configv1.UnimplementedEndpointServiceServer

	shown, changed *configv1.Endpoint
	asked          []proto.Message
}

func (s *scriptedEndpoints) GetEndpoint(context.Context, *configv1.GetEndpointRequest) (*configv1.Endpoint, error) {
	return s.shown, nil
}

func (s *scriptedEndpoints) ListEndpoints(context.Context, *configv1.ListEndpointsRequest) (*configv1.ListEndpointsResponse, error) {
	return &configv1.ListEndpointsResponse{Endpoints: []*configv1.Endpoint{s.shown}}, nil
}

func (s *scriptedEndpoints) UpdateEndpoint(_ context.Context, req *configv1.UpdateEndpointRequest) (*configv1.Endpoint, error) {
	s.asked = append(s.asked, req)
	return s.changed, nil
}

// endpointCommand runs "endpoint" with the words against the script.
func endpointCommand(t *testing.T, s *scriptedEndpoints, words string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	configv1.RegisterEndpointServiceServer(server, s)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	var out, errs bytes.Buffer
	args := append([]string{"endpoint"}, strings.Fields(words+" --tenant acme --config "+listener.Addr().String())...)
	if code := Run(t.Context(), args, command.Streams{Out: &out, Err: &errs}, time.Now()); code != exitOK {
		t.Fatalf("%s: exit code %d: %s", words, code, &errs)
	}
	return out.String()
}

// expiredChain is a certificate that expired on the 14th of November.
func expiredChain(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: day(1).AsTime(), NotAfter: day(14).AsTime()}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
}

func suspendedEndpoint(t *testing.T) *configv1.Endpoint {
	return &configv1.Endpoint{
		Name: "tenants/acme/endpoints/crm", Activation: 3,
		Auth: &configv1.EndpointAuth{Auth: &configv1.EndpointAuth_ClientCertificate{ClientCertificate: &configv1.ClientCertificate{CertificateChain: expiredChain(t)}}},
		Health: &configv1.EndpointHealth{
			State: configv1.EndpointState_ENDPOINT_STATE_SUSPENDED, Reason: "failing", Since: day(12), Failures: 51, FailingSince: day(11), LastSuccess: day(10),
			LastStatus: 503, LastError: "status 503", CircuitOpen: true, NextProbe: day(13), HoldUntil: timestamppb.New(time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)),
			Waiting: 300, Behind: 7, Activation: 3, ReportTime: day(15),
		},
	}
}

func TestEndpointHealth_ShowsWhatWasReported(t *testing.T) {
	s := &scriptedEndpoints{shown: suspendedEndpoint(t)}
	want := `
HEALTH                      VALUE
name                        tenants/acme/endpoints/crm
status                      active
state                       suspended (failing)
since                       2026-11-12T00:00:00Z
failures                    51
failing since               2026-11-11T00:00:00Z
last success                2026-11-10T00:00:00Z
last status                 503
last error                  status 503
circuit                     open
next probe                  2026-11-13T00:00:00Z
hold until                  2099-01-02T03:04:05Z
waiting                     300
behind                      7
activation                  3
reported                    2026-11-15T00:00:00Z
client certificate expires  2026-11-14T00:00:00Z
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), endpointCommand(t, s, "health crm")); diff != "" {
		t.Error(diff)
	}
	want = `
NAME                        STATUS  STATE                SINCE                 FAILURES  CIRCUIT  NEXT PROBE            HOLD UNTIL            WAITING  BEHIND
tenants/acme/endpoints/crm  active  suspended (failing)  2026-11-12T00:00:00Z  51        open     2026-11-13T00:00:00Z  2099-01-02T03:04:05Z  300      7
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), endpointCommand(t, s, "health")); diff != "" {
		t.Error(diff)
	}
	want = `
[
  {
    "name": "tenants/acme/endpoints/crm",
    "status": "active",
    "paused": false,
    "state": "suspended",
    "reason": "failing",
    "since": "2026-11-12T00:00:00Z",
    "failures": 51,
    "failing_since": "2026-11-11T00:00:00Z",
    "last_success": "2026-11-10T00:00:00Z",
    "last_status": 503,
    "last_error": "status 503",
    "circuit": "open",
    "next_probe": "2026-11-13T00:00:00Z",
    "hold_until": "2099-01-02T03:04:05Z",
    "waiting": 300,
    "behind": 7,
    "activation": 3,
    "reported": "2026-11-15T00:00:00Z",
    "certificate_expires": "2026-11-14T00:00:00Z"
  }
]
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), endpointCommand(t, s, "health crm -o json")); diff != "" {
		t.Error(diff)
	}
}

func TestEndpointChanges_PrintWhatFollows(t *testing.T) {
	healthy := &configv1.Endpoint{Name: "tenants/acme/endpoints/crm", Health: &configv1.EndpointHealth{Waiting: 12}}
	held := suspendedEndpoint(t)
	held.Health.State = configv1.EndpointState_ENDPOINT_STATE_FAILING
	for name, tc := range map[string]struct {
		words           string
		before, changed *configv1.Endpoint
		want            string
		field           string
	}{
		"a pause":                    {"pause crm", healthy, &configv1.Endpoint{Paused: true}, "nothing is sent within 2 s", "paused"},
		"its end":                    {"resume crm", healthy, &configv1.Endpoint{}, "12 deliveries waited when last reported; they are sent in order, one of them as a probe first", "paused"},
		"of a suspended one":         {"resume crm", suspendedEndpoint(t), &configv1.Endpoint{}, "nothing is sent: it is suspended, tollgate endpoint activate ends that", "paused"},
		"of one that is held":        {"resume crm", held, &configv1.Endpoint{}, "deliveries are sent in order from 2099-01-02T03:04:05Z, as the receiver asked by Retry-After; one of them is a probe first", "paused"},
		"an activation":              {"activate crm", suspendedEndpoint(t), &configv1.Endpoint{Activation: 4}, "deliveries are sent in order from 2099-01-02T03:04:05Z", "status"},
		"an activation in a pause":   {"activate crm", healthy, &configv1.Endpoint{Activation: 4, Paused: true}, "nothing is sent: it is paused, tollgate endpoint resume ends that", "status"},
		"an activation that it ends": {"activate crm", suspendedEndpoint(t), &configv1.Endpoint{Activation: 4}, "activation 4, the suspension has ended", "status"},
	} {
		s := &scriptedEndpoints{shown: tc.before, changed: tc.changed}
		if out := endpointCommand(t, s, tc.words+" -o json"); !strings.Contains(out, tc.want) {
			t.Errorf("%s: %s", name, out)
		}
		want := &configv1.UpdateEndpointRequest{
			Endpoint: &configv1.Endpoint{Name: "tenants/acme/endpoints/crm"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{tc.field}},
		}
		if tc.field == "status" {
			want.Endpoint.Status = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
		}
		want.Endpoint.Paused = strings.HasPrefix(tc.words, "pause")
		if diff := cmp.Diff(want, s.asked[0], protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
