package scenario

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// holder is a program with a key of a tenant, on one replica of ingest.
type holder struct {
	t      *testing.T
	ctx    context.Context
	name   string
	conn   *grpc.ClientConn
	client ingestv1.IngestServiceClient
	sent   int
}

func newHolder(t *testing.T, ctx context.Context, m *fleet.Member, name, secret string) *holder {
	t.Helper()
	conn, err := rpc.Dial(m.Address("grpc"), secret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &holder{t: t, ctx: ctx, name: m.Name + " " + name, conn: conn, client: ingestv1.NewIngestServiceClient(conn)}
}

func (h *holder) event() *eventv1.Event {
	h.sent++
	data, err := anypb.New(&eventv1.UsageCharged{Net: &money.Money{CurrencyCode: "EUR", Nanos: 1_000_000}})
	if err != nil {
		h.t.Fatal(err)
	}
	return &eventv1.Event{
		Id: fmt.Sprintf("%s-%d", h.name, h.sent), Source: "case75", Type: "usage.charged", Tenant: "sample",
		Subject: "447700900001", Time: timestamppb.Now(), Data: data,
	}
}

func (h *holder) publish() error {
	_, err := h.client.Publish(h.ctx, &ingestv1.PublishRequest{Event: h.event()})
	return err
}

// valid waits until the key is accepted.
func (h *holder) valid() {
	h.t.Helper()
	var last error
	if !comes(h.ctx, func() bool { last = h.publish(); return last == nil }) {
		h.t.Fatalf("%s is not accepted: %v", h.name, last)
	}
}

// refused waits until the key is refused, and calls with it a while: it is not accepted any more.
func (h *holder) refused(want string) {
	h.t.Helper()
	begin := time.Now()
	var last error
	if !comes(h.ctx, func() bool { last = h.publish(); return fault.KindOf(last) == fault.Unauthenticated }) {
		h.t.Fatalf("%s is not refused: %v", h.name, last)
	}
	h.t.Logf("%s is refused after %s", h.name, time.Since(begin).Round(time.Millisecond))
	for range 10 {
		if err := h.publish(); fault.ReasonOf(err) != want {
			h.t.Errorf("%s: %v, not %s", h.name, err, want)
		}
	}
}

// open opens a PublishStream, of which an event is acknowledged, and a Subscribe; ended has what each ended with.
func (h *holder) open() (ended chan error) {
	h.t.Helper()
	ended = make(chan error, 2)
	publishing, err := h.client.PublishStream(h.ctx)
	if err == nil {
		err = publishing.Send(&ingestv1.PublishStreamRequest{Event: h.event()})
	}
	if err == nil {
		_, err = publishing.Recv()
	}
	if err != nil {
		h.t.Fatal(h.name, err)
	}
	subscribed, err := ingestv1.NewEventQueueServiceClient(h.conn).Subscribe(h.ctx)
	if err == nil {
		err = subscribed.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: &ingestv1.Subscription{
			Tenant: "sample", Types: []string{"usage.charged"}, Start: &ingestv1.Start{At: &ingestv1.Start_Earliest{Earliest: &emptypb.Empty{}}},
		}}})
	}
	if err == nil {
		_, err = subscribed.Recv()
	}
	if err != nil {
		h.t.Fatal(h.name, err)
	}
	go func() {
		for {
			if _, err := publishing.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	go func() {
		for {
			if _, err := subscribed.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

func (h *holder) bothEnd(ended chan error) {
	h.t.Helper()
	for range 2 {
		select {
		case err := <-ended:
			if fault.ReasonOf(err) != reason.APIKeyEnded {
				h.t.Errorf("%s: a stream ends with %v", h.name, err)
			}
		case <-h.ctx.Done():
			h.t.Fatalf("%s: a stream goes on under a key that is refused", h.name)
		}
	}
}

// Elsewhere a deleted key lived on in a cache, on open connections, or came back with a restart.
func TestKeys_AWithdrawnKeyStaysWithdrawn(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		start := func(name string) *fleet.Member {
			m, err := f.Start(ctx, name)
			if err == nil {
				err = m.Ready(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		config := start("config")
		replicas := []*fleet.Member{start("ingest"), start("ingest")}
		if _, err := f.Configure(ctx, &configv1.Tenant{Name: "tenants/sample"}); err != nil {
			t.Fatal(err)
		}
		conn, err := f.Dial(f.Configuration())
		if err != nil {
			t.Fatal(err)
		}
		keys := configv1.NewApiKeyServiceClient(conn)
		create := func(id string) string {
			k, err := keys.CreateApiKey(ctx, &configv1.CreateApiKeyRequest{ApiKey: &configv1.ApiKey{
				Name: "tenants/sample/apiKeys/" + id, Scopes: []configv1.ApiKeyScope{access.Publish, access.Subscribe, access.ConfigRead},
				QueueGrants: []*configv1.QueueGrant{{Entity: "usage", Operations: []configv1.QueueOperation{1, 2, 3, 4}}},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return k.GetSecret()
		}
		secrets := map[string]string{"k": create("k"), "other": create("other")}
		holders := func(id string) (all []*holder) {
			for _, m := range replicas {
				all = append(all, newHolder(t, ctx, m, id, secrets[id]))
			}
			return all
		}
		withdrawn, others := holders("k"), holders("other")
		var ended []chan error
		for _, h := range withdrawn {
			h.valid()
			ended = append(ended, h.open())
		}
		const name = "tenants/sample/apiKeys/k"
		if _, err := keys.DeleteApiKey(ctx, &configv1.DeleteApiKeyRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		for i, h := range withdrawn {
			h.refused(reason.APIKeyUnknown)
			h.bothEnd(ended[i])
		}
		for _, h := range others {
			h.valid()
		}
		// config itself refuses it too.
		own, err := rpc.Dial(f.Configuration(), secrets["k"])
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		if _, err := configv1.NewApiKeyServiceClient(own).GetApiKey(ctx, &configv1.GetApiKeyRequest{Name: name}); fault.ReasonOf(err) != reason.APIKeyUnknown {
			t.Errorf("config: %v", err)
		}

		// Without config, both replicas start anew.
		config.Kill()
		for _, m := range replicas {
			m.Kill()
			<-m.Ended()
			if err := m.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		for _, h := range holders("other") {
			h.valid()
		}
		for _, h := range holders("k") {
			h.refused(reason.APIKeyUnknown)
		}

		<-config.Ended()
		if err := config.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		wait(t, ctx, "the key is undeleted", func() bool {
			_, err := keys.UndeleteApiKey(ctx, &configv1.UndeleteApiKeyRequest{Name: name})
			return err == nil || fault.ReasonOf(err) == "NOT_DELETED"
		})
		for _, h := range holders("k") {
			h.valid()
		}
		if _, err := keys.DeleteApiKey(ctx, &configv1.DeleteApiKeyRequest{Name: name}); err != nil {
			t.Fatal(err)
		}
		for _, h := range holders("k") {
			h.refused(reason.APIKeyUnknown)
		}
		// Expiry.
		ended = nil
		others = holders("other")
		for _, h := range others {
			h.valid()
			ended = append(ended, h.open())
		}
		if _, err := keys.UpdateApiKey(ctx, &configv1.UpdateApiKeyRequest{
			ApiKey:     &configv1.ApiKey{Name: "tenants/sample/apiKeys/other", ExpireTime: timestamppb.New(time.Now().Add(-time.Minute))},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"expire_time"}},
		}); err != nil {
			t.Fatal(err)
		}
		for i, h := range others {
			h.refused(reason.APIKeyExpired)
			h.bothEnd(ended[i])
		}
		// What they have refused in this minute is published as they stop.
		for _, m := range replicas {
			if err := m.Stop(ctx); err != nil {
				t.Fatal(err)
			}
		}
		audited(t, ctx, f, name, map[string]string{access.HashOf(secrets["k"]).Caller(): reason.APIKeyUnknown, access.HashOf(secrets["other"]).Caller(): reason.APIKeyExpired})
	})
}

// audited asks the topic audit for one record of each withdrawal of a key, and for one of the refusals of a caller, method,
// minute and process: each caller was refused for a reason, again and again.
func audited(t *testing.T, ctx context.Context, f *fleet.Fleet, key string, callers map[string]string) {
	t.Helper()
	client, err := f.Kafka("operator")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const publish = "tollgate.ingest.v1.IngestService/Publish"
	var actions []string
	records, calls := map[string]int{}, map[string]int64{}
	streamtest.Await(ctx, t, client, stream.Audit, func(all []stream.Record) bool {
		actions = nil
		clear(records)
		clear(calls)
		seen := map[string]bool{}
		for _, r := range all {
			m := &auditv1.AuditRecord{}
			if err := proto.Unmarshal(r.Value, m); err != nil {
				t.Fatal(err)
			}
			if seen[m.GetId()] {
				continue // published twice, under one id
			}
			seen[m.GetId()] = true
			if c := m.GetChange(); c.GetName() == key {
				actions = append(actions, c.GetAction())
			}
			if of := m.GetRefusals(); m.GetMethod() == publish && of.GetReasons()[callers[m.GetCaller()]] > 0 {
				records[fmt.Sprintf("%s by %s at %s", m.GetCaller(), of.GetProcess(), m.GetTime().AsTime())]++
				calls[m.GetCaller()] += of.GetCount()
			}
		}
		return len(actions) >= 4 && len(calls) == len(callers)
	})
	if got := fmt.Sprint(actions); got != "[create delete undelete delete]" {
		t.Errorf("audit has %s of the key", got)
	}
	for of, n := range records {
		if n != 1 {
			t.Errorf("the refusals of %s are %d records", of, n)
		}
	}
	for caller := range callers {
		if calls[caller] < 20 { // ten of each replica at least, in the minute that it stopped in and the one before
			t.Errorf("audit has %d refusals of %s", calls[caller], caller)
		}
	}
	t.Logf("%d records of %v refusals", len(records), calls)
}
