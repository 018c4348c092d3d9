package allinone

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// The Java clients describe the topics of the embedded Kafka, produce an event, and consume an outcome. It runs with
// TOLLGATE_TEST_CLIENTS=1: make test-clients.
func TestJavaClient_DescribesProducesAndConsumes(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") != "1" {
		t.Skip("make test-clients runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const key = "tg_0123456789abcdef"
	keyFile := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := Open(ctx, Config{Dir: t.TempDir(), KeyFile: keyFile, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}()
	revision := configure(ctx, t, i, key)
	if err := i.Work(ctx); err != nil {
		t.Fatal(err)
	}
	awaitRevision(ctx, t, i, revision)

	const msisdn = "447700900123"
	cmd := exec.CommandContext(ctx, "java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(streamtest.KafkaJars(t), "*"), filepath.Join("testdata", "Outsider.java"), i.Kafka, "tollgate", "acme", msisdn)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	var want []string
	for _, topic := range table.Topics(partitions) {
		want = append(want, fmt.Sprintf("topic tollgate.%s %d", topic.Name, topic.Partitions))
	}
	slices.Sort(want)
	want = append(want, "produced tollgate.events.inbound", "consumed safeguard.activated "+msisdn+" acme 1.0")
	if got := strings.TrimSpace(string(out)); got != strings.Join(want, "\n") {
		t.Errorf("the Java clients print\n%s\nnot\n%s\n%s", got, strings.Join(want, "\n"), errs.String())
	}
}

// configure makes a tenant with a class of service, and gives the revision from which on they are in force.
func configure(ctx context.Context, t *testing.T, i *Installation, key string) int64 {
	t.Helper()
	address, err := i.Service("config").Address(ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := rpc.Dial(address, key)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := configv1.NewTenantServiceClient(conn).CreateTenant(ctx, &configv1.CreateTenantRequest{Tenant: &configv1.Tenant{Name: "tenants/acme"}}); err != nil {
		t.Fatal(err)
	}
	made, err := configv1.NewClassOfServiceServiceClient(conn).CreateClassOfService(ctx, &configv1.CreateClassOfServiceRequest{ClassOfService: &configv1.ClassOfService{
		Name: "tenants/acme/classesOfService/gold", DataSafeguard: &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 50}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return made.GetMetadata().GetRevision()
}

// awaitRevision waits until a revision is in force in every partition of the ordered events.
func awaitRevision(ctx context.Context, t *testing.T, i *Installation, revision int64) {
	t.Helper()
	client, err := stream.Open(i.kafka(), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := client.Topic(stream.EventsOrdered)
	count, err := client.Partitions(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(count) {
		found := false
		for next := int64(0); !found; {
			b, err := client.FetchFrom(ctx, topic, p, next, 1<<20)
			if err != nil {
				t.Fatalf("wait for revision %d in partition %d: %v", revision, p, err)
			}
			if next = b.Next; len(b.Records) == 0 {
				pause.For(ctx, 5*time.Millisecond)
			}
			for _, r := range b.Records {
				if e, err := event.Decode(r.Value); err == nil {
					change, ok := e.Data.(*controlv1.Revision)
					found = found || ok && change.GetRevision() >= revision
				}
			}
		}
	}
}
