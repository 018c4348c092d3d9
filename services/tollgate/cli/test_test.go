package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// scriptedTests answers by a script; tests of the service have the real one.
type scriptedTests struct {
	deliveryv1.UnimplementedTestServiceServer

	asked  *deliveryv1.SendTestRequest
	answer *deliveryv1.SendTestResponse
}

func (s *scriptedTests) SendTest(_ context.Context, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	s.asked = req
	return s.answer, nil
}

func TestTest_ShowsTheAttempt(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scriptedTests{}
	server := grpc.NewServer()
	deliveryv1.RegisterTestServiceServer(server, s)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	t.Setenv("TOLLGATE_WEBHOOK_ADDR", listener.Addr().String())
	run := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = Run(t.Context(), append([]string{"test"}, args...), command.Streams{Out: &o, Err: &e}, time.Now())
		return code, o.String(), e.String()
	}
	s.answer = &deliveryv1.SendTestResponse{Body: []byte(`{"a":1}`), Attempt: &deliveryv1.Attempt{
		Status: 204, Delivery: "dlv_1", Phases: &deliveryv1.Phases{Total: durationpb.New(time.Millisecond)},
		RequestHeaders: []*deliveryv1.Header{{Name: "Authorization", Value: "****"}},
	}}
	code, out, errs := run("webhook", "crm", "--tenant", "acme", "--type", "usage.charged")
	if code != exitOK || s.asked.GetName() != "tenants/acme/endpoints/crm" || s.asked.GetType() != "usage.charged" {
		t.Errorf("exit code %d, asked for %v: %s", code, s.asked, errs)
	}
	for _, part := range []string{"status 204", "dlv_1", "1ms", "request authorization", "****", `{"a":1}`} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
	if code, out, _ := run("webhook", "crm", "--tenant", "acme", "-o", "json"); code != exitOK || !strings.Contains(out, `"status": 204`) {
		t.Errorf("exit code %d: %s", code, out)
	}
	s.answer.Attempt = &deliveryv1.Attempt{ErrorClass: "connect", Error: "refused"}
	if code, _, errs := run("webhook", "crm", "--tenant", "acme"); code != exitFailed || !strings.Contains(errs, "connect: refused") {
		t.Errorf("exit code %d: %s", code, errs)
	}

	file := filepath.Join(t.TempDir(), "endpoint.yaml")
	document := "kind: Endpoint\nname: tenants/acme/endpoints/new\nurl: https://example.com/\n"
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	s.answer.Attempt = &deliveryv1.Attempt{Status: 200}
	if code, _, errs := run("webhook", "-f", file); code != exitOK || s.asked.GetEndpoint().GetUrl() != "https://example.com/" {
		t.Errorf("exit code %d, asked for %v: %s", code, s.asked, errs)
	}
	if err := os.WriteFile(file, []byte("kind: Tenant\nname: tenants/acme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range [][]string{
		{"webhook", "crm", "--tenant", "acme", "--to", "me@example.com"}, {"email", "main", "--tenant", "acme"},
		{"email", "main", "--tenant", "acme", "--to", "me@example.com", "--type", "usage.charged"},
		{"webhook"}, {"webhook", "crm"}, {"pigeon", "crm", "--tenant", "acme"}, {"webhook", "crm", "--tenant", "acme", "-f", file}, {"webhook", "-f", file},
	} {
		if code, _, errs := run(wrong...); code != exitUsage {
			t.Errorf("%v: exit code %d: %s", wrong, code, errs)
		}
	}
}
