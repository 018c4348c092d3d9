package audit

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func open(t *testing.T, b streamtest.Broker) *stream.Client {
	t.Helper()
	c, err := stream.Open(stream.Config{Brokers: b.Addrs, Prefix: streamtest.NewPrefix(t)}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func createTopic(t *testing.T, c *stream.Client) {
	t.Helper()
	if err := c.CreateTopics(t.Context(), []stream.TopicSpec{{Name: stream.Audit, Partitions: 2}}, true); err != nil {
		t.Fatal(err)
	}
}

// process is one that refuses.
type process struct {
	env        daemon.Env
	authorizer *rpc.Authorizer
	now        atomic.Int64
	stop       func() error
}

func begin(t *testing.T, c *stream.Client) *process {
	t.Helper()
	p := &process{env: daemon.NewEnv("ingest", zap.NewNop())}
	p.now.Store(time.Date(2026, 11, 30, 12, 0, 5, 0, time.UTC).UnixMilli())
	p.env.Clock = func() time.Time { return time.UnixMilli(p.now.Load()) }
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	server, err := rpc.NewServer(cfg, p.env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	p.authorizer = server.Authorizer()
	p.stop = PublishRefusals(t.Context(), c, p.authorizer.Refusals(), p.env)
	return p
}

func (p *process) refuse(secret string) {
	p.authorizer.RefuseHeaders(context.Background(), access.PublishHTTP, "192.0.2.7:1234", "Bearer "+secret, nil,
		fault.New(fault.Unauthenticated, reason.APIKeyUnknown, "no"))
}

// read waits for the records that make up a number of refusals.
func read(t *testing.T, c *stream.Client, refusals int64) map[string]*auditv1.AuditRecord {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	byID := map[string]*auditv1.AuditRecord{}
	streamtest.Await(ctx, t, c, stream.Audit, func(all []stream.Record) bool {
		total := int64(0)
		clear(byID)
		for _, r := range all {
			m := &auditv1.AuditRecord{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				t.Fatal(err)
			}
			if byID[m.GetId()] == nil {
				total += m.GetRefusals().GetCount()
			}
			byID[m.GetId()] = m
		}
		return total >= refusals
	})
	return byID
}

func TestPublishRefusals_OneRecordForEachCallerAndMinuteAndTheRestAtTheEnd(t *testing.T) {
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			c := open(t, b)
			createTopic(t, c)
			p := begin(t, c)
			for range 30 {
				p.refuse("tg_withdrawn")
			}
			p.now.Add(time.Minute.Milliseconds())
			if got := read(t, c, 30); len(got) != 1 {
				t.Errorf("%d records: %v", len(got), got)
			}
			p.refuse("tg_withdrawn")
			if err := p.stop(); err != nil {
				t.Fatal(err)
			}
			got := read(t, c, 31)
			if len(got) != 2 {
				t.Errorf("%d records: %v", len(got), got)
			}
			for _, r := range got {
				text := r.String()
				if r.GetCaller() != access.HashOf("tg_withdrawn").Caller() || r.GetMethod() != "POST /v1/events" || r.GetRefusals().GetAddress() != "192.0.2.7" ||
					r.GetRefusals().GetService() != "ingest" || strings.Contains(text, "tg_withdrawn") {
					t.Errorf("%s", text)
				}
			}
		})
	}
}

// Without the topic nothing is taken, as while Kafka is away; then it follows.
func TestPublishRefusals_FollowWhenKafkaTakesThem(t *testing.T) {
	b := streamtest.Brokers(t)[0]
	c := open(t, b)
	p := begin(t, c)
	p.refuse("tg_1")
	p.now.Add(time.Minute.Milliseconds())
	p.refuse("tg_2")
	createTopic(t, c)
	p.now.Add(time.Minute.Milliseconds())
	if got := read(t, c, 2); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
}

func TestRecord_ThatIsTooLargeKeepsWhatFits(t *testing.T) {
	change := func(fields, size int) *auditv1.AuditRecord {
		c := &configv1.Change{Name: "tenants/a/notifications/n"}
		for range fields {
			c.Fields = append(c.Fields, &configv1.FieldChange{Path: "trigger.filter", After: structpb.NewStringValue(string(bytes.Repeat([]byte("x"), size)))})
		}
		return &auditv1.AuditRecord{Id: "1", Time: timestamppb.Now(), Tenant: "a", What: &auditv1.AuditRecord_Change{Change: c}}
	}
	for name, test := range map[string]struct {
		fields, size   int
		cut            bool
		kept, withText int
	}{
		"small":               {3, 100, false, 3, 3},
		"large values":        {3, 1 << 20, true, 3, 0},
		"far too many fields": {100_000, 1, true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Record("audit", "config", time.Now(), change(test.fields, test.size))
			if err != nil {
				t.Fatal(err)
			}
			m := &auditv1.AuditRecord{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				t.Fatal(err)
			}
			withText := 0
			for _, f := range m.GetChange().GetFields() {
				if f.GetAfter() != nil {
					withText++
				}
			}
			if m.GetCut() != test.cut || len(m.GetChange().GetFields()) != test.kept || withText != test.withText || len(r.Value) > maxValue || string(r.Key) != "a" {
				t.Errorf("%d bytes, cut %v, %d fields, %d with values", len(r.Value), m.GetCut(), len(m.GetChange().GetFields()), withText)
			}
		})
	}
}
