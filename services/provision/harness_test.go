package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/script"
)

func TestMain(m *testing.M) {
	script.Stage()
	streamtest.VerifyTestMain(m)
}

// fixture is what the service needs, and the handlers that it asks.
type fixture struct {
	*frametest.Bed
	cfg   Config
	hooks []*configv1.Hook
	ports []uint32
	types []*configv1.EventType
	// tenant changes what acme is.
	tenant func(*configv1.Tenant)
	// others are tenants beside acme, of the same kind.
	others []string
}

func onServers(t *testing.T, test func(f *fixture)) {
	t.Parallel()
	frametest.OnServers(t, 2, func(b *frametest.Bed) {
		f := &fixture{Bed: b, cfg: DefaultConfig()}
		f.cfg.Config = b.Config
		f.cfg.Secrets.KeysetFile = secrettest.File(b)
		f.cfg.GRPC.KeyHashes = []string{rpc.HashKey(frametest.Key)}
		test(f)
	})
}

// handling is a handler of HTTP, and what it was asked.
type handling struct {
	mu     sync.Mutex
	bodies [][]byte
	heads  []http.Header
	// methods and from are those of the requests, and the addresses they came from.
	methods, from []string
	answer        func(w http.ResponseWriter, body []byte)
}

func (h *handling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	h.mu.Lock()
	h.bodies, h.heads = append(h.bodies, body), append(h.heads, r.Header.Clone())
	h.methods, h.from = append(h.methods, r.Method), append(h.from, r.RemoteAddr)
	answer := h.answer
	h.mu.Unlock()
	answer(w, body)
}

// asked is how often it was.
func (h *handling) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.bodies)
}

// http adds a handler to the hooks of acme, asked after those before it.
func (f *fixture) http(id string, answer func(w http.ResponseWriter, body []byte)) (*handling, *configv1.Hook) {
	f.Helper()
	h := &handling{answer: answer}
	server := httptest.NewServer(h)
	f.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		f.Fatal(err)
	}
	port, err := strconv.ParseUint(u.Port(), 10, 32)
	if err != nil {
		f.Fatal(err)
	}
	f.ports = append(f.ports, uint32(port))
	hook := &configv1.Hook{
		Name: "tenants/acme/hooks/" + id, EventTypes: []string{"client.created"}, Priority: int32(len(f.hooks)),
		FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID, Timeout: durationpb.New(5 * time.Second),
		Handler: &configv1.Hook_Http{Http: &configv1.HttpHandler{Url: server.URL + "/" + id}},
	}
	f.hooks = append(f.hooks, hook)
	return h, hook
}

// holding is a handler that answers once it is released, at the end of the test at the latest: its server closes then.
func (f *fixture) holding(id string, answer func(w http.ResponseWriter, body []byte)) (h *handling, hook *configv1.Hook, release func()) {
	f.Helper()
	until := make(chan struct{})
	h, hook = f.http(id, func(w http.ResponseWriter, body []byte) {
		<-until
		answer(w, body)
	})
	release = sync.OnceFunc(func() { close(until) })
	f.Cleanup(release) // before the server closes
	return h, hook, release
}

// echo answers what it was sent, as the usual example of a handler does.
func echo(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }

func answering(status int, body string) func(http.ResponseWriter, []byte) {
	return func(w http.ResponseWriter, _ []byte) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// save makes the hooks those of a new revision.
func (f *fixture) save() {
	revision := f.Configuration.Newest() + 1
	acme := &configv1.Tenant{
		Name: "tenants/acme", Outbound: &configv1.OutboundPolicy{PlainHttp: true, Ports: f.ports, Networks: []string{"127.0.0.0/8"}},
	}
	if f.tenant != nil {
		f.tenant(acme)
	}
	tenants := []*configv1.Tenant{acme}
	for _, id := range f.others {
		tenants = append(tenants, &configv1.Tenant{Name: "tenants/" + id, Outbound: acme.GetOutbound()})
	}
	f.Configuration.Save(&configv1.Snapshot{Revision: revision, ApplyRevision: revision, Hooks: f.hooks, EventTypes: f.types, Tenants: tenants})
}

// running is one replica, and a client of it.
type running struct {
	provisionv1.ProvisioningServiceClient
	env  daemon.Env
	stop func() error
}

// start returns once the hooks are in force.
func (f *fixture) start() *running {
	f.Helper()
	env, stop := f.Run("provision", func(ctx context.Context, env daemon.Env) error { return Run(ctx, f.cfg, env) })
	address, err := env.Listeners.Wait(f.Ctx, "grpc")
	if err != nil {
		f.Fatal(err)
	}
	conn, err := rpc.Dial(address, frametest.Key, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	return &running{provisionv1.NewProvisioningServiceClient(conn), env, stop}
}

// nord is the creation of a client.
func nord(key string) *provisionv1.DecideRequest {
	data, err := anypb.New(&eventv1.ClientChanged{
		Client:  &eventv1.Account{Id: "7401", DisplayName: "Nord", BillDay: 3, CompanyAddress: &eventv1.PostalAddress{}},
		Contact: &eventv1.Contact{Email: "nord@example.com"},
	})
	if err != nil {
		panic(err)
	}
	return &provisionv1.DecideRequest{Tenant: "acme", Type: "client.created", ObjectId: "7401", Data: data, IdempotencyKey: key}
}

// decide repeats a call while the service has no configuration yet.
func (f *fixture) decide(r *running, req *provisionv1.DecideRequest) (*provisionv1.DecideResponse, error) {
	for {
		ctx, cancel := context.WithTimeout(f.Ctx, time.Minute)
		res, err := r.Decide(ctx, req)
		cancel()
		if err == nil || fault.ReasonOf(fault.FromGRPC(err)) != reason.ConfigNotRead || !pause.For(f.Ctx, 5*time.Millisecond) {
			return res, err
		}
	}
}

// decided fails unless the call is answered.
func (f *fixture) decided(r *running, req *provisionv1.DecideRequest) *provisionv1.DecideResponse {
	f.Helper()
	res, err := f.decide(r, req)
	if err != nil {
		f.Fatal(err)
	}
	return res
}

// records are those of a topic in all its partitions, at least n.
func (f *fixture) records(topic string, n int) []stream.Record {
	f.Helper()
	name := f.Client.Topic(topic)
	partitions, err := f.Client.Partitions(f.Ctx, name)
	if err != nil {
		f.Fatal(err)
	}
	for {
		var all []stream.Record
		for p := range partitions {
			start, end, err := f.Client.Offsets(f.Ctx, name, int32(p))
			if err != nil {
				f.Fatal(err)
			}
			for start < end {
				batch, err := f.Client.FetchFrom(f.Ctx, name, int32(p), start, 1<<20)
				if err != nil {
					f.Fatal(err)
				}
				if len(batch.Records) == 0 {
					break
				}
				all = append(all, batch.Records...)
				start = batch.Records[len(batch.Records)-1].Offset + 1
			}
		}
		if len(all) >= n {
			return all
		}
		if !pause.For(f.Ctx, 5*time.Millisecond) {
			f.Fatalf("%s has %d records, want %d", topic, len(all), n)
		}
	}
}

// events are those of events.ordered.
func (f *fixture) events(n int) []*event.Event {
	f.Helper()
	var all []*event.Event
	for _, r := range f.records(stream.EventsOrdered, n) {
		e, err := event.Decode(r.Value)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// executions are those of the log.
func (f *fixture) executions(n int) []*provisionv1.Execution {
	f.Helper()
	var all []*provisionv1.Execution
	for _, r := range f.records(stream.ProvisionExecutions, n) {
		x := &provisionv1.Execution{}
		if err := proto.Unmarshal(r.Value, x); err != nil {
			f.Fatal(err)
		}
		all = append(all, x)
	}
	return all
}

// clientOf is the data of an answer.
func clientOf(t testing.TB, res *provisionv1.DecideResponse) *eventv1.Account {
	t.Helper()
	c := &eventv1.ClientChanged{}
	if err := res.GetData().UnmarshalTo(c); err != nil {
		t.Fatal(err)
	}
	return c.GetClient()
}

// edit changes what the client of a question is.
func edit(change func(client map[string]any)) func(http.ResponseWriter, []byte) {
	return func(w http.ResponseWriter, body []byte) {
		var q struct {
			Event, Data map[string]any
		}
		if err := json.Unmarshal(body, &q); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		client, _ := q.Data["client"].(map[string]any)
		change(client)
		out, err := json.Marshal(map[string]any{"event": q.Event, "data": q.Data})
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(out)
	}
}

func outcomesOf(res *provisionv1.DecideResponse) (all []string) {
	for _, h := range res.GetHandlers() {
		all = append(all, fmt.Sprintf("%s %s", h.GetHandler()[len("tenants/acme/hooks/"):], h.GetOutcome()))
	}
	return all
}

// scriptUser is whom scripts run as in tests.
func scriptUser() string {
	if os.Geteuid() == 0 {
		return "nobody"
	}
	return ""
}

// inRedis is the Redis of a fixture, to change what a crash would leave.
type inRedis struct {
	client *redis.Client
	prefix string
}

func (f *fixture) store() (*inRedis, error) {
	client := redis.NewClient(&redis.Options{Addr: f.cfg.Redis.Address})
	f.Cleanup(func() { _ = client.Close() })
	return &inRedis{client, f.cfg.Redis.Prefix}, nil
}

// unpublish leaves a key as it is before its event was published, once it is marked.
func (s *inRedis) unpublish(ctx context.Context, name string) {
	for s.client.HDel(ctx, s.prefix+":key:"+name, "published").Val() == 0 && ctx.Err() == nil {
	}
}
