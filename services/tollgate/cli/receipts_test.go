package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Attempts of three ordered deliveries to crm, the second of them dead, and of one to another endpoint.
func TestVerifyReceipts_ComparesALogWithTheAttempts(t *testing.T) {
	began := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ids := make([]string, 4)
	for i := range ids {
		ids[i] = delivery.NewID(began, "acme", "crm", "client/42", string(rune('a'+i)), "n", "a", "", "e")
	}
	attempt := func(i, number, status int, previous string, settled deliveryv1.Settlement, reason string) *deliveryv1.Attempt {
		return &deliveryv1.Attempt{
			Delivery: ids[i], Tenant: "acme", Endpoint: "tenants/acme/endpoints/crm", Topic: "t.deliveries.webhook", Offset: int64(i),
			Number: int32(number), PlannedAt: timestamppb.New(began), Started: timestamppb.New(began.Add(time.Duration(i+number) * time.Second)),
			Phases: &deliveryv1.Phases{Total: durationpb.New(50 * time.Millisecond)}, Status: int32(status),
			Sequence: int64(i + 1), Previous: previous, Settlement: settled, Reason: reason,
		}
	}
	other := attempt(3, 1, 204, "", deliveryv1.Settlement_SETTLEMENT_DELIVERED, "")
	other.Endpoint = "tenants/acme/endpoints/erp"
	broker := publishAttempts(t,
		attempt(0, 1, 500, "", deliveryv1.Settlement_SETTLEMENT_UNSPECIFIED, ""),
		attempt(0, 2, 200, "", deliveryv1.Settlement_SETTLEMENT_DELIVERED, ""),
		attempt(1, 1, 422, ids[0], deliveryv1.Settlement_SETTLEMENT_DEAD, "exhausted"),
		attempt(2, 1, 200, ids[1], deliveryv1.Settlement_SETTLEMENT_DELIVERED, ""), other)
	run := func(args ...string) (int, string) {
		var out, errs bytes.Buffer
		code := Run(t.Context(), args, command.Streams{In: &bytes.Buffer{}, Out: &out, Err: &errs}, time.Now())
		return code, out.String() + errs.String()
	}
	kafka := []string{"--brokers", broker, "--prefix", "t"}

	code, exported := run(append([]string{"deliveries", "export", "--endpoint", "tenants/acme/endpoints/crm"}, kafka...)...)
	if code != exitOK {
		t.Fatal(exported)
	}
	if n := strings.Count(exported, "\n"); n != 4 {
		t.Errorf("%d lines, not 4: %s", n, exported)
	}
	contains(t, exported, `"number":2,"planned_at":"2026-11-01T12:00:00Z","started":"2026-11-01T12:00:02Z","answered":"2026-11-01T12:00:02.05Z",`+
		`"recorded":"2026-11-01T12:00:02Z","status":200,"settlement":"delivered"}`)
	_, part := run(append([]string{"deliveries", "export", "--from", "2026-11-01T12:00:02Z", "--to", "2026-11-01T12:00:03Z"}, kafka...)...)
	if n := strings.Count(part, "\n"); n != 2 {
		t.Errorf("%d lines, not 2: %s", n, part)
	}

	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := `{"id":"` + ids[0] + `","sequence":1,"received_at":"2026-11-01T12:00:02Z"}` + "\n"
	third := `{"id":"` + ids[2] + `","sequence":"3","previous":"` + ids[1] + `","received_at":"2026-11-01T12:00:03Z"}` + "\n"
	whole := file("whole.jsonl", first+third)
	code, text := run(append([]string{"verify-receipts", whole}, kafka...)...)
	if code != exitOK {
		t.Error(text)
	}
	contains(t, text, "receipts 2, of 2 deliveries\nlost 0, out of order 0\ngaps explained by dead (exhausted): 1\n")

	// The same by an export, and with what is wrong.
	code, text = run("verify-receipts", file("swapped.jsonl", third+first), "--export", file("attempts.jsonl", exported))
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	contains(t, text, "out of order: "+ids[2])
	code, text = run("verify-receipts", file("short.jsonl", third), "-o", "json", "--export", filepath.Join(dir, "attempts.jsonl"))
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	contains(t, text, `"lost": [`)

	code, text = run("verify-receipts", file("no.jsonl", "{}\n[]\n"))
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	contains(t, text, "line 1: id and received_at are required")
	contains(t, text, "line 2: ")
	code, text = run("verify-receipts", whole, "--from", "noon", "--to=-1h")
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	contains(t, text, `--from "noon"`)
	contains(t, text, `--to "-1h"`)
}

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("no %q in %s", want, text)
	}
}

// publishAttempts returns the address of a broker that has them.
func publishAttempts(t *testing.T, attempts ...*deliveryv1.Attempt) string {
	t.Helper()
	brokers := streamtest.Embedded(t)
	client, err := stream.Open(stream.Config{Brokers: brokers, Prefix: "t"}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close(client)
	if err := client.CreateTopics(t.Context(), []stream.TopicSpec{{Name: stream.DeliveriesAttempts, Partitions: 2, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	producer := client.NewProducer()
	for _, a := range attempts {
		value, err := proto.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if err := producer.Produce(t.Context(), stream.Record{
			Topic: client.Topic(stream.DeliveriesAttempts), Key: []byte(a.GetEndpoint()), Value: value, Time: a.GetStarted().AsTime(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := producer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return brokers[0]
}
