package ingest

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/state/statetest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// configured answers snapshots of what stands, a resource a part.
type configured struct {
	configv1.UnimplementedConfigWatchServiceServer
	mu       sync.Mutex
	now      *configv1.Snapshot
	away     bool
	readings int
}

func (s *configured) Snapshot(req *configv1.SnapshotRequest, parts grpc.ServerStreamingServer[configv1.SnapshotResponse]) error {
	s.mu.Lock()
	now := proto.CloneOf(s.now)
	away := s.away
	s.readings++
	s.mu.Unlock()
	if away {
		return errors.New("away")
	}
	head := &configv1.Snapshot{Revision: now.GetRevision(), History: now.GetHistory()}
	if since := req.GetSince(); since.GetRevision() == now.GetRevision() && since.GetHistory() == now.GetHistory() {
		return parts.Send(&configv1.SnapshotResponse{Snapshot: head, Since: since})
	}
	for _, t := range now.GetTenants() {
		if err := parts.Send(&configv1.SnapshotResponse{Snapshot: &configv1.Snapshot{Revision: head.GetRevision(), History: head.GetHistory(), Tenants: []*configv1.Tenant{t}}}); err != nil {
			return err
		}
	}
	head.EventTypes = now.GetEventTypes()
	return parts.Send(&configv1.SnapshotResponse{Snapshot: head})
}

// change makes another revision.
func (s *configured) change(edit func(*configv1.Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Revision++
	edit(s.now)
}

// configure serves a configuration with these tenants.
func (f *fixture) configure(tenants ...string) (service *configured, address string) {
	f.Helper()
	listener, err := (&net.ListenConfig{}).Listen(f.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	service = &configured{now: &configv1.Snapshot{History: 7, Revision: 1}}
	for _, name := range tenants {
		service.now.Tenants = append(service.now.Tenants, &configv1.Tenant{Name: "tenants/" + name})
	}
	server := grpc.NewServer()
	configv1.RegisterConfigWatchServiceServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	f.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			f.Error(err)
		}
	})
	return service, listener.Addr().String()
}

func TestTenants_EverySourceRefusesUnknownTenants(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		_, address := f.configure("other", "acme")
		r := f.start(func(cfg *Config) { cfg.Configuration.Address = address })

		of := func(id, tenant string) *event.Event {
			e := usage(id, "447700900001", 100)
			e.Tenant = tenant
			return e
		}
		check := func(source string, err error) {
			t.Helper()
			if v := fault.ViolationsOf(err); fault.ReasonOf(err) != reason.UnknownTenant || len(v) != 1 ||
				v[0].Field != "tenant" {
				t.Errorf("%s: %v", source, err)
			}
		}
		_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: of("1", "unknown").Proto()})
		check("Publish", err)
		batch, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{of("2",
			"acme").Proto(), of("3", "unknown").Proto(), of("4", "other").Proto()}})
		if err != nil {
			t.Fatal(err)
		}
		checkResults(t, batch.GetResults(), check)
		if a := r.post(structured(t, "5", map[string]any{"tenant": "unknown"}),
			map[string]string{"Content-Type": event.ContentTypeCloudEvent}); a.Status != 400 ||
			a.Reason != reason.UnknownTenant {
			t.Errorf("%+v", a)
		}
		f.produce(stream.Record{Value: bytesOf(t, of("6", "unknown"))},
			stream.Record{Value: bytesOf(t, of("7", "acme"))})
		if rejected := f.read(stream.EventsRejected, 1); len(rejected) != 1 ||
			headersOf(rejected[0])[event.HeaderReason] != reason.UnknownTenant {
			t.Errorf("%v", rejected)
		}
		if got := len(f.read(stream.EventsOrdered, 3)); got != 3 {
			t.Errorf("%d events were accepted", got)
		}
	})
}

// configured starts a replica with the tenant of the tests, acme.
func (f *fixture) configured() func(*Config) {
	_, address := f.configure("acme")
	return func(cfg *Config) { cfg.Configuration.Address = address }
}

const orderPlaced = "acme_order.placed"

func orderType(fields ...*configv1.EventField) *configv1.EventType {
	return &configv1.EventType{Name: "tenants/acme/eventTypes/" + orderPlaced, Fields: fields}
}

func anOrder(id string, fields map[string]any) *event.Event {
	e := usage(id, "order/7", 100)
	e.Type, e.Tenant = orderPlaced, "acme"
	data, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	e.Data = data
	return e
}

// A type is declared, changed and deleted while ingest runs: each time the next event is validated by it, from every source.
func TestDeclaredTypes_AreInForceAtOnceFromEverySource(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		service, address := f.configure("acme")
		r := f.start(func(cfg *Config) { cfg.Configuration.Address = address })
		const text = configv1.FieldKind_FIELD_KIND_TEXT
		// each sends an event in four ways, and compares the reasons and fields of what is refused.
		each := func(what string, fields map[string]any, code string, wrong ...string) {
			t.Helper()
			check := func(source string, err error) {
				t.Helper()
				var got []string
				for _, v := range fault.ViolationsOf(err) {
					got = append(got, v.Field)
				}
				if fault.ReasonOf(err) != code || strings.Join(got, " ") != strings.Join(wrong, " ") {
					t.Errorf("%s, %s: %v, want %s of %v", what, source, err, code, wrong)
				}
			}
			_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: anOrder(what+"-grpc", fields).Proto()})
			check("Publish", err)
			data, err := anOrder("x", fields).Data.(*structpb.Struct).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			a := r.post(structured(t, what+"-http", map[string]any{"type": orderPlaced, "tenant": "acme", "subject": "order/7", "data": json.RawMessage(data)}),
				map[string]string{"Content-Type": event.ContentTypeCloudEvent})
			if a.Reason != code {
				t.Errorf("%s by HTTP: %+v", what, a)
			}
		}
		id := map[string]any{"id": "7"}
		each("before it is declared", id, reason.UnknownType, "type")
		service.change(func(s *configv1.Snapshot) {
			s.EventTypes = []*configv1.EventType{orderType(&configv1.EventField{Name: "id", Kind: text, Required: true})}
		})
		each("declared", id, "")
		each("two faults", map[string]any{"id": 7, "colour": "red"}, reason.EventInvalid, "data.id", "data.colour")
		f.produce(stream.Record{Value: bytesOf(t, anOrder("by Kafka", id))}, stream.Record{Value: bytesOf(t, anOrder("wrong", map[string]any{}))})
		if rejected := f.read(stream.EventsRejected, 1); headersOf(rejected[0])[event.HeaderReason] != reason.EventInvalid {
			t.Errorf("%v", rejected)
		}
		each("an unknown field", map[string]any{"id": "7", "colour": "red"}, reason.UnknownField, "data.colour")
		service.change(func(s *configv1.Snapshot) { s.Tenants[0].UnknownFields = configv1.UnknownFields_UNKNOWN_FIELDS_KEEP })
		each("an unknown field kept", map[string]any{"id": "7", "colour": "red"}, "")
		service.change(func(s *configv1.Snapshot) {
			s.EventTypes = []*configv1.EventType{orderType(&configv1.EventField{Name: "id", Kind: configv1.FieldKind_FIELD_KIND_INTEGER})}
		})
		each("another kind", map[string]any{"id": 7}, "")

		accepted := f.read(stream.EventsOrdered, 7)
		kept := 0
		for _, record := range accepted {
			e, err := event.Decode(record.Value)
			if err != nil {
				t.Fatal(err)
			}
			if e.Data.(*structpb.Struct).GetFields()["colour"].GetStringValue() == "red" {
				kept++
			}
			if string(record.Key) != "acme/order/7" || headersOf(record)[event.HeaderType] != orderPlaced {
				t.Errorf("%q of %v", record.Key, headersOf(record))
			}
		}
		if kept != 2 {
			t.Errorf("%d events kept their unknown field", kept)
		}
		service.mu.Lock()
		service.away = true
		service.mu.Unlock()
		unknown := anOrder("away", id)
		unknown.Type = "acme_order.new"
		if _, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: unknown.Proto()}); fault.KindOf(err) != fault.Unavailable || fault.ReasonOf(err) != reason.TypeUnverified {
			t.Errorf("a type that may have been declared meanwhile: %v", err)
		}
		if _, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: anOrder("known", map[string]any{"id": 7}).Proto()}); err != nil {
			t.Errorf("a type that is known goes on: %v", err)
		}
	})
}

// What a tenant declares is known at a start without configuration, from what a replica kept.
func TestTenants_AreKnownAtAStartWithoutConfiguration(t *testing.T) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			f := newFixture(t, streamtest.Brokers(t)[0].Addrs)
			service, address := f.configure("acme")
			service.change(func(s *configv1.Snapshot) {
				s.EventTypes = []*configv1.EventType{orderType(&configv1.EventField{Name: "id", Kind: configv1.FieldKind_FIELD_KIND_INTEGER, Required: true})}
			})
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(testKey+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, prefix := server.Open(t)
			start := func(address string) *replica {
				return f.start(func(cfg *Config) {
					cfg.Configuration.Address, cfg.Configuration.APIKeyFile = address, path
					cfg.Redis.Address, cfg.Redis.Prefix, cfg.Redis.SkipDurabilityCheck = server.Address, prefix, true
				})
			}
			send := func(r *replica, id, kind string) string {
				e := anOrder(id, map[string]any{"id": 7})
				e.Type = kind
				_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: e.Proto()})
				return fault.ReasonOf(err)
			}
			r := start(address)
			if why := send(r, "1", orderPlaced); why != "" {
				t.Fatal(why)
			}
			client := redis.NewClient(&redis.Options{Addr: server.Address})
			defer client.Close()
			for kept := false; !kept; {
				n, err := client.ZCard(f.ctx, "{"+prefix+":config:ingest.3:encrypted}:order").Result()
				if err != nil {
					t.Fatal(err)
				}
				kept = n > 0
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			r = start("127.0.0.1:1")
			for {
				why := send(r, "2", orderPlaced)
				if why == "" {
					break
				}
				if why != reason.TypeUnverified {
					t.Fatal(why)
				}
			}
			if why := send(r, "3", "order.lost"); why != reason.TypeUnverified {
				t.Errorf("a type that may have been declared since then: %q", why)
			}
		})
	}
}
