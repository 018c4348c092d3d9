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

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// scriptedRules answers by a script; tests of the service have the real one.
type scriptedRules struct {
	triggerv1.UnimplementedRuleServiceServer
	preview *triggerv1.PreviewRequest
	dryRun  *triggerv1.DryRunRequest
	explain *triggerv1.ExplainRequest
	cut     bool
}

func (s *scriptedRules) Preview(_ context.Context, req *triggerv1.PreviewRequest) (*triggerv1.PreviewResponse, error) {
	s.preview = req
	return &triggerv1.PreviewResponse{
		Event: &triggerv1.PreviewedEvent{Type: "usage.charged", Id: "u-1", Subject: "44****23"}, FilterParts: []*triggerv1.FilterPart{{Expression: "a && b", Value: "false"}, {Expression: "b", Value: "false", Depth: 1}},
		Messages: []*triggerv1.PreviewedMessage{{Action: "notify", Target: "tenants/acme/endpoints/crm", Body: []byte(`{"a":1}`)}},
	}, nil
}

func (s *scriptedRules) DryRun(req *triggerv1.DryRunRequest, out grpc.ServerStreamingServer[triggerv1.DryRunResponse]) error {
	s.dryRun = req
	err := out.Send(&triggerv1.DryRunResponse{Part: &triggerv1.DryRunResponse_Progress{Progress: &triggerv1.DryRunProgress{EventsRead: 1, EventsPlanned: 2}}})
	if s.cut {
		return err
	}
	return out.Send(&triggerv1.DryRunResponse{Part: &triggerv1.DryRunResponse_Result{Result: &triggerv1.DryRunResult{
		Firings: 12, Subjects: 7, Days: []*triggerv1.DryRunDay{{Date: "2026-11-29", Firings: 12, Records: 1000, RecordsRead: 999}},
		Held: []*triggerv1.DryRunHeld{{Reason: triggerv1.Decision_REASON_CAP, Count: 3, Detail: "the cap is reached"}},
		Read: &triggerv1.DryRunRead{Records: 10_000, RecordsRead: 9_999, Partitions: 8, PartitionsRead: 7, EndedBy: triggerv1.DryRunRead_BOUND_TIME},
	}}})
}

func (s *scriptedRules) Explain(req *triggerv1.ExplainRequest, out grpc.ServerStreamingServer[triggerv1.ExplainResponse]) error {
	s.explain = req
	return out.Send(&triggerv1.ExplainResponse{Part: &triggerv1.ExplainResponse_Result{Result: &triggerv1.ExplainResult{
		Revision:      4,
		Notifications: []*triggerv1.Explanation{{Notification: "limits", Outcome: triggerv1.Explanation_OUTCOME_FILTER_FALSE, Detail: "the filter does not hold"}},
	}}})
}

func TestNotification_AsksTheTriggerAndShowsItsAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scriptedRules{}
	server := grpc.NewServer()
	triggerv1.RegisterRuleServiceServer(server, s)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	t.Setenv("TOLLGATE_TRIGGER_ADDR", listener.Addr().String())
	run := func(code int, args ...string) string {
		t.Helper()
		var o, e bytes.Buffer
		if got := Run(t.Context(), append([]string{"notification"}, args...), command.Streams{Out: &o, Err: &e}, time.Now()); got != code {
			t.Errorf("%v: exit code %d, not %d: %s", args, got, code, e.String())
		}
		return o.String() + e.String()
	}
	shows := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%q is not in\n%s", part, out)
			}
		}
	}
	shows(run(exitOK, "preview", "limits", "--tenant", "acme", "--event", "events.ordered/3/1042"), "usage.charged u-1 of 44****23", "  b is false", `{"a":1}`)
	if s.preview.GetName() != "tenants/acme/notifications/limits" || s.preview.GetPosition().GetOffset() != 1042 {
		t.Errorf("asked for %v", s.preview)
	}
	file := filepath.Join(t.TempDir(), "n.yaml")
	if err := os.WriteFile(file, []byte("kind: Notification\nname: tenants/acme/notifications/limits\ntrigger: {event_types: [usage.charged]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A share that is nearly all is not all.
	shows(run(exitOK, "dry-run", "-f", file, "--from", "2d"), "12", "held back, cap", "3: the cap is reached", "99.9 % of its records read", "99.9 %: 9999 of 10000 records, 7 of 8 partitions, ended by the bound of time")
	if age := time.Since(s.dryRun.GetFrom().AsTime()); s.dryRun.GetNotification().GetTrigger() == nil || age < 47*time.Hour || age > 49*time.Hour {
		t.Errorf("asked for %v", s.dryRun)
	}
	shows(run(exitOK, "dry-run", "limits", "--tenant", "acme", "-o", "json"), `"firings": "12"`, `"ended_by": "BOUND_TIME"`)
	shows(run(exitOK, "explain", "u-1", "--subject", "44", "--tenant", "acme", "--from", "2h"), "limits", "filter false", "the filter does not hold")
	if s.explain.GetSearch().GetId() != "u-1" || s.explain.GetSearch().GetFrom() == nil || s.explain.GetParent() != "tenants/acme" {
		t.Errorf("asked for %v", s.explain)
	}
	s.cut = true
	shows(run(exitFailed, "dry-run", "limits", "--tenant", "acme"), "ended before its end")
	for _, wrong := range [][]string{
		{"preview"}, {"preview", "limits"}, {"dry-run", "limits", "--tenant", "acme", "--from", "yesterday"}, {"explain", "u-1", "--tenant", "acme"}, {"explain", "a/1/2"},
		{"preview", "limits", "--tenant", "acme", "--event", "x"},
	} {
		run(exitUsage, wrong...)
	}
}
