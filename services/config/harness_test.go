package config

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// running is the service over loopback, on a file of its own.
type running struct {
	t        *testing.T
	db       *storetest.Database
	kafka    stream.Config
	keyset   string
	log      bytes.Buffer // is read once the service has stopped
	stop     func()
	env      daemon.Env
	mu       sync.Mutex
	now      time.Time
	tenants  configv1.TenantServiceClient
	classes  configv1.ClassOfServiceServiceClient
	notes    configv1.NotificationServiceClient
	ends     configv1.EndpointServiceClient
	watching configv1.ConfigWatchServiceClient
	// outside follows with a key that is no service's.
	outside configv1.ConfigWatchServiceClient
	history configv1.HistoryServiceClient
	// service calls with the key of one.
	service configv1.EndpointServiceClient
	users   configv1.UserServiceClient
	suppr   configv1.SuppressionServiceClient
	keys    configv1.ApiKeyServiceClient
	hooks   configv1.HookServiceClient
	types   configv1.EventTypeServiceClient
	changes configv1.ChangeServiceClient
	address string
	// provision is where hooks are tested; empty for where nobody listens.
	provision string

	profiles, profileService configv1.SmtpProfileServiceClient
}

func start(t *testing.T) *running { return startWith(t, stream.DefaultConfig()) }

// startWith starts it beside a Kafka.
func startWith(t *testing.T, kafka stream.Config) *running {
	r := &running{t: t, kafka: kafka, db: storetest.New(t), now: time.UnixMilli(1_800_000_000_000)}
	r.run()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.IsZero() {
		return time.Now()
	}
	return r.now
}

func (r *running) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *running) run() {
	r.t.Helper()
	if r.keyset == "" {
		r.keyset = secrettest.File(r.t)
	}
	cfg := DefaultConfig()
	cfg.GRPC.Listen = "127.0.0.1:0"
	cfg.GRPC.KeyHashes = []string{rpc.HashKey(testKey)}
	cfg.GRPC.ServiceKeyHashes = []string{rpc.HashKey(serviceKey)}
	cfg.Database, cfg.Kafka, cfg.Secrets.KeysetFile = r.db.Config, r.kafka, r.keyset
	cfg.Provision.Address = cmp.Or(r.provision, "127.0.0.1:1")
	if err := cfg.Validate(); err != nil {
		r.t.Fatal(err)
	}
	r.env = daemon.NewEnv("config", zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(&r.log)), zap.DebugLevel)))
	r.env.Clock = r.clock
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, cfg, r.env)
		cancel()
	}()
	address, err := r.env.Listeners.Wait(ctx, "grpc")
	if err != nil {
		r.t.Fatalf("%v, the service ended with %v", err, <-ended)
	}
	conn, err := rpc.Dial(address, testKey, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.tenants, r.classes = configv1.NewTenantServiceClient(conn), configv1.NewClassOfServiceServiceClient(conn)
	r.notes, r.ends = configv1.NewNotificationServiceClient(conn), configv1.NewEndpointServiceClient(conn)
	r.address = address
	r.users, r.suppr = configv1.NewUserServiceClient(conn), configv1.NewSuppressionServiceClient(conn)
	r.keys = configv1.NewApiKeyServiceClient(conn)
	r.hooks = configv1.NewHookServiceClient(conn)
	r.types = configv1.NewEventTypeServiceClient(conn)
	r.changes = configv1.NewChangeServiceClient(conn)
	service, err := rpc.Dial(address, serviceKey, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.profiles, r.profileService = configv1.NewSmtpProfileServiceClient(conn), configv1.NewSmtpProfileServiceClient(service)
	r.service = configv1.NewEndpointServiceClient(service)
	r.history = configv1.NewHistoryServiceClient(conn)
	r.watching, r.outside = configv1.NewConfigWatchServiceClient(service), configv1.NewConfigWatchServiceClient(conn)
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the service ended with %v", err)
		}
		conn.Close()
		service.Close()
	})
}

func (r *running) restart() {
	r.t.Helper()
	r.stop()
	r.run()
}

func (r *running) snapshot(revision int64) *configv1.Snapshot {
	r.t.Helper()
	s, err := r.snapshotOf(0, revision)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.decrypted(s)
}

// decrypted has the secrets of a snapshot in clear, as a service that sends has them; none may have been so.
func (r *running) decrypted(s *configv1.Snapshot) *configv1.Snapshot {
	r.t.Helper()
	keyset := secrettest.Open(r.t, r.keyset)
	for _, k := range table.Kinds() {
		for one := range configclient.Resources(s, k) {
			if have, want := len(k.Encrypted(one)), len(k.Secrets(one)); have != want {
				r.t.Errorf("%s comes with %d of %d secrets encrypted", one.GetName(), have, want)
			}
			if err := k.Decrypt(one, keyset); err != nil {
				r.t.Error(err)
			}
		}
	}
	return s
}

// snapshotOf is a whole snapshot of a history.
func (r *running) snapshotOf(history uint64, number int64) (*configv1.Snapshot, error) {
	parts, err := r.watching.Snapshot(r.t.Context(), &configv1.SnapshotRequest{History: history, Revision: number})
	if err != nil {
		return nil, err
	}
	return configclient.Collect(parts, nil)
}

// must is what a call answered.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func refused(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	if fault.KindOf(err) != kind || fault.ReasonOf(err) != reason {
		t.Errorf("%v, want %s %s", err, kind, reason)
	}
}

func (r *running) tenant(id string) *configv1.Tenant {
	r.t.Helper()
	return must[*configv1.Tenant](r.t)(r.tenants.CreateTenant(r.t.Context(), &configv1.CreateTenantRequest{
		Tenant: &configv1.Tenant{Name: "tenants/" + id, DisplayName: id},
	}))
}

func anEndpoint(id string) *configv1.Endpoint {
	return &configv1.Endpoint{Name: "tenants/acme/endpoints/" + id, Url: "https://hooks.example.com/" + id, Secrets: []string{secretA}}
}

func (r *running) endpoint(id string) *configv1.Endpoint {
	r.t.Helper()
	return must[*configv1.Endpoint](r.t)(r.ends.CreateEndpoint(r.t.Context(), &configv1.CreateEndpointRequest{Endpoint: anEndpoint(id)}))
}

func aNotification(code, endpoint string) *configv1.Notification {
	return &configv1.Notification{
		Name: "tenants/acme/notifications/" + code, DisplayName: code, Active: true,
		Trigger: &configv1.Trigger{EventTypes: []string{"safeguard.alert"}},
		Actions: []*configv1.Action{{
			Name:   "notify",
			Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/" + endpoint}},
		}},
	}
}

func (r *running) notification(code, endpoint string) *configv1.Notification {
	r.t.Helper()
	return must[*configv1.Notification](r.t)(r.notes.CreateNotification(r.t.Context(),
		&configv1.CreateNotificationRequest{Notification: aNotification(code, endpoint)}))
}

func aClass(id string) *configv1.ClassOfService {
	return &configv1.ClassOfService{
		Name:          "tenants/acme/classesOfService/" + id,
		DataSafeguard: &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 50}},
	}
}

func (r *running) class(id string) *configv1.ClassOfService {
	r.t.Helper()
	return must[*configv1.ClassOfService](r.t)(r.classes.CreateClassOfService(r.t.Context(),
		&configv1.CreateClassOfServiceRequest{ClassOfService: aClass(id)}))
}

func mask(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }
