package cli

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// restored is a configuration service that was set back: services and a log know more than it does.
type restored struct {
	configv1.UnimplementedHistoryServiceServer

	unknown []*configv1.History_Unknown
	asked   []proto.Message
}

func (r *restored) GetHistory(context.Context, *configv1.GetHistoryRequest) (*configv1.History, error) {
	return &configv1.History{Newest: &configv1.Position{History: 0xa, Revision: 3}, Unknown: r.unknown}, nil
}

func (r *restored) AcceptRestore(_ context.Context, req *configv1.AcceptRestoreRequest) (*configv1.History, error) {
	r.asked = append(r.asked, req)
	return &configv1.History{Newest: &configv1.Position{History: 0xc, Revision: 10}}, nil
}

// held has two keys, and one that is deleted.
type held struct {
	configv1.UnimplementedApiKeyServiceServer
}

//nolint:staticcheck // the name is that of the generated interface
func (held) GetApiKey(_ context.Context, req *configv1.GetApiKeyRequest) (*configv1.ApiKey, error) {
	switch k := (&configv1.ApiKey{Name: req.GetName(), Metadata: &configv1.Metadata{}}); req.GetName() {
	case "tenants/acme/apiKeys/erp", "tenants/acme/apiKeys/back":
		return k, nil
	case "tenants/acme/apiKeys/gone":
		k.Metadata.DeleteTime = timestamppb.Now()
		return k, nil
	}
	return nil, fault.Status(fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "no")).Err()
}

// history is a broker whose topic audit has changes of keys, as "action id".
func history(t *testing.T, changes ...string) (brokers string) {
	t.Helper()
	all := streamtest.Embedded(t)
	client, err := stream.Open(stream.Config{Brokers: all, Prefix: "tollgate"}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer command.Close(client)
	if err := client.CreateTopics(t.Context(), []stream.TopicSpec{{Name: stream.Audit, Partitions: 2, Replication: 1}}, true); err != nil {
		t.Fatal(err)
	}
	producer := client.NewProducer()
	for i, change := range changes {
		action, id, _ := strings.Cut(change, " ")
		r, err := audit.Record(client.Topic(stream.Audit), "config", time.Now(), &auditv1.AuditRecord{
			Id: fmt.Sprint(i), Time: timestamppb.New(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)), Tenant: "acme", Caller: "c0ffee00",
			What: &auditv1.AuditRecord_Change{Change: &configv1.Change{Action: action, Kind: "ApiKey", Name: "tenants/acme/apiKeys/" + id}},
		})
		if err == nil {
			err = producer.Produce(t.Context(), r)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := producer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, ",")
}

// A key that was withdrawn after the backup is valid again once that is restored.
func TestAcceptRestore_ListsWhatComesBack(t *testing.T) {
	brokers := history(t, "create erp", "delete erp", "create gone", "delete gone", "create never", "delete never", "delete back", "undelete back")
	r := &restored{unknown: []*configv1.History_Unknown{{Position: &configv1.Position{History: 0xb, Revision: 9}, InForce: true}}}
	code, out, errs := restore(t, r, "--why backup --yes --brokers "+brokers)
	want := "comes back: ApiKey tenants/acme/apiKeys/erp, deleted by c0ffee00 at 2026-11-29"
	if code != exitOK || strings.Count(out, "comes back:") != 1 || !strings.Contains(out, want) || len(r.asked) != 1 {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
	code, out, errs = restore(t, r, "--why backup --yes --prefix other --brokers "+brokers)
	if code != exitOK || !strings.Contains(out, "what was deleted and comes back is not known: ") || len(r.asked) != 2 {
		t.Errorf("without the topic: code %d\n%s\n%s", code, out, errs)
	}
}

// restore runs the command; words are split at spaces.
func restore(t *testing.T, r *restored, args string) (code int, stdout, stderr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	configv1.RegisterHistoryServiceServer(server, r)
	configv1.RegisterApiKeyServiceServer(server, held{})
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	defer server.Stop()
	var out, errs bytes.Buffer
	words := strings.Fields("config accept-restore --config " + listener.Addr().String() + " " + args)
	code = Run(t.Context(), words, command.Streams{Out: &out, Err: &errs}, time.Now())
	return code, out.String(), errs.String()
}

func TestAcceptRestore_AsksAndAccepts(t *testing.T) {
	inForce := &configv1.History_Unknown{
		Position: &configv1.Position{History: 0xb, Revision: 9}, InForce: true, Peer: "trigger-0",
		ReportedTime: timestamppb.New(time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)),
	}
	named := &configv1.History_Unknown{Position: &configv1.Position{History: 0xd, Revision: 700}, Peer: "safeguard-1"}
	accepted := func(positions ...*configv1.Position) *configv1.AcceptRestoreRequest {
		return &configv1.AcceptRestoreRequest{Lost: positions, Who: command.Operator(), Why: "backup"}
	}
	brokers := history(t)
	for _, test := range []struct {
		name, args string
		unknown    []*configv1.History_Unknown
		code       int
		out, errs  string
		asked      *configv1.AcceptRestoreRequest
	}{
		{"nothing to accept", "--why backup --yes", nil, exitOK, "nothing to accept", "", nil},
		{
			"what is in force is accepted", "--why backup --yes", []*configv1.History_Unknown{inForce, named}, exitOK,
			"not here: revision 9 of history 000000000000000b, in force, reported by trigger-0 at 2026-11-29T12:00:00Z", "", accepted(inForce.GetPosition()),
		},
		{
			"what only a log names has to be named", "--why backup --yes --history 000000000000000D", []*configv1.History_Unknown{inForce, named}, exitOK,
			"accepted: services follow from revision 10 of history 000000000000000c on", "", accepted(named.GetPosition()),
		},
		{"only what a log names", "--why backup --yes", []*configv1.History_Unknown{named}, exitOK, "nothing to accept", "", nil},
		{"no reason", "--yes", []*configv1.History_Unknown{inForce}, exitUsage, "", "--why", nil},
		{"no terminal", "--why backup", []*configv1.History_Unknown{inForce}, exitUsage, "", "--yes is required", nil},
		{"another history", "--why backup --yes --history ff", []*configv1.History_Unknown{inForce}, exitUsage, "", "--history ff is none of those shown", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &restored{unknown: test.unknown}
			code, out, errs := restore(t, r, test.args+" --brokers "+brokers)
			if code != test.code || !strings.Contains(out, test.out) || !strings.Contains(errs, test.errs) {
				t.Errorf("code %d\n%s\n%s", code, out, errs)
			}
			var want []proto.Message
			if test.asked != nil {
				want = append(want, test.asked)
			}
			if diff := cmp.Diff(want, r.asked, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
