package email

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/port"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/trigger"
)

func TestMain(m *testing.M) {
	streamtest.VerifyTestMain(m)
}

// operatorKey is that of a person; frametest.Key is that of the services.
const operatorKey = "tg_key-of-an-operator"

// fixture is the service with config as both are deployed, on one pair of servers. The tenant sample may send to servers on
// this machine.
type fixture struct {
	*frametest.Bed
	ctx context.Context
	cfg Config
	// ahead is by how much the clock of the service that is started next is ahead.
	ahead time.Duration
	// log gets what that service logs, where it is set.
	log *zap.Logger
	// config is the configuration service that runs, or did.
	config     config.Config
	stopConfig func() error

	tenants       configv1.TenantServiceClient
	profiles      configv1.SmtpProfileServiceClient
	users         configv1.UserServiceClient
	notifications configv1.NotificationServiceClient
	suppressions  configv1.SuppressionServiceClient
	// watching is what a service may call.
	watching configv1.ConfigWatchServiceClient
}

// onServers runs a test beside the others: each mostly waits.
func onServers(t *testing.T, test func(f *fixture)) {
	t.Parallel()
	frametest.OnServers(t, 2, func(b *frametest.Bed) {
		f := &fixture{Bed: b, ctx: b.Ctx, cfg: DefaultConfig()}
		f.cfg.Config = b.Config
		f.cfg.Secrets.KeysetFile = secrettest.File(b)
		f.startConfig()
		test(f)
	})
}

// startConfig runs the configuration service on a database of its own, and sets up its clients.
func (f *fixture) startConfig() {
	f.Helper()
	cfg := config.DefaultConfig()
	cfg.GRPC.Listen = must[string](f)(port.Free(f.ctx, "127.0.0.1"))
	cfg.GRPC.KeyHashes, cfg.GRPC.ServiceKeyHashes = []string{rpc.HashKey(operatorKey)}, []string{rpc.HashKey(frametest.Key)}
	cfg.Database.Path = filepath.Join(f.TempDir(), "config.db")
	cfg.Secrets = f.cfg.Secrets
	if err := cfg.Validate(); err != nil {
		f.Fatal(err)
	}
	f.config = cfg
	address := f.runConfig()
	f.cfg.Configuration.Address = address
	conn, service := f.dial(address, operatorKey), f.dial(address, frametest.Key)
	f.tenants, f.profiles = configv1.NewTenantServiceClient(conn), configv1.NewSmtpProfileServiceClient(conn)
	f.users, f.notifications = configv1.NewUserServiceClient(conn), configv1.NewNotificationServiceClient(conn)
	f.suppressions, f.watching = configv1.NewSuppressionServiceClient(conn), configv1.NewConfigWatchServiceClient(service)
}

// runConfig runs it, again at the address that it had.
func (f *fixture) runConfig() (address string) {
	f.Helper()
	env, stop := f.Run("config", func(ctx context.Context, env daemon.Env) error { return config.Run(ctx, f.config, env) })
	f.stopConfig = stop
	return must[string](f)(env.Listeners.Wait(f.ctx, "grpc"))
}

func (f *fixture) dial(address, key string) *grpc.ClientConn {
	f.Helper()
	conn, err := rpc.Dial(address, key, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	return conn
}

// must is what a call answered.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// tenant stores the tenant sample, which may send to these ports of this machine.
func (f *fixture) tenant(ports ...uint16) {
	f.Helper()
	policy := &configv1.OutboundPolicy{Networks: []string{"127.0.0.0/8", "::1/128"}}
	for _, port := range ports {
		policy.Ports = append(policy.Ports, uint32(port))
	}
	must[*configv1.Tenant](f)(f.tenants.UpdateTenant(f.ctx, &configv1.UpdateTenantRequest{
		Tenant: &configv1.Tenant{Name: "tenants/sample", Outbound: policy}, AllowMissing: true,
	}))
}

// store stores a profile, changed by change, and returns the name.
func (f *fixture) store(id string, p *configv1.SmtpProfile, change func(*configv1.SmtpProfile)) string {
	f.Helper()
	p.Name, p.Activation = "tenants/sample/smtpProfiles/"+id, 0
	if change != nil {
		change(p)
	}
	must[*configv1.SmtpProfile](f)(f.profiles.CreateSmtpProfile(f.ctx, &configv1.CreateSmtpProfileRequest{SmtpProfile: p}))
	return p.GetName()
}

// running is the service as it is deployed.
type running struct {
	env  daemon.Env
	stop func() error
}

func (f *fixture) start() *running {
	f.Helper()
	ahead := f.ahead
	env, stop := f.Run("email", func(ctx context.Context, env daemon.Env) error {
		env.Clock = func() time.Time { return time.Now().Add(ahead) }
		if f.log != nil {
			env.Log = f.log
		}
		return Run(ctx, f.cfg, env)
	})
	return &running{env, stop}
}

// startTrigger runs the service that plans, and waits until it plans by the newest revision.
func (f *fixture) startTrigger(revision int64) {
	f.Helper()
	cfg := trigger.DefaultConfig()
	cfg.Config = f.cfg.Config
	f.Run("trigger", func(ctx context.Context, env daemon.Env) error { return trigger.Run(ctx, cfg, env) })
	streamtest.Await(f.ctx, f, f.Client, stream.EventsOrdered, func(records []stream.Record) bool {
		at := map[int32]bool{}
		for _, r := range records {
			e := must[*event.Event](f)(event.Decode(r.Value))
			if data, ok := e.Data.(*controlv1.Revision); ok && data.GetRevision() >= revision {
				at[r.Partition] = true
			}
		}
		return len(at) == 2
	})
}

// publish puts events into the ordered log, received now.
func (f *fixture) publish(events ...*event.Event) {
	f.Helper()
	var records []stream.Record
	for _, e := range events {
		e.ReceivedAt = time.Now().UTC().Truncate(time.Millisecond)
		records = append(records, must[stream.Record](f)(e.Record(f.Client.Topic(stream.EventsOrdered))))
	}
	if err := f.Producer.Produce(f.ctx, records...); err != nil {
		f.Fatal(err)
	}
}

// plan puts deliveries into the log.
func (f *fixture) plan(ds ...*delivery.Delivery) {
	f.Helper()
	var records []stream.Record
	for _, d := range ds {
		records = append(records, must[stream.Record](f)(d.Record(f.Client.Topic(email.Channel.Topic))))
	}
	if err := f.Producer.Produce(f.ctx, records...); err != nil {
		f.Fatal(err)
	}
}

// newDelivery is one e-mail about an event, to an address, by a profile.
func newDelivery(t testing.TB, profile, id, to string) *delivery.Delivery {
	t.Helper()
	address := must[email.Address](t)(email.ParseAddress(to))
	m, err := (&email.Planned{To: address, Subject: "Invoice " + id, Text: "due\n", Domain: "operator.example"}).Message()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	return &delivery.Delivery{
		ID: delivery.NewID(at, "sample", "billing", to, id, "n", "a", "", profile+to), Tenant: "sample", Notification: "n", Action: "a", Endpoint: profile,
		Event:     delivery.EventReference{Source: "billing", ID: id, Type: "t", Subject: "account/1", Topic: "events.ordered"},
		Recipient: address.Key(), ContentType: m.ContentType, Body: m.Body, PlannedAt: at, Revision: 1,
	}
}

// ordered are n deliveries of one ordering key.
func ordered(t testing.TB, profile, to string, n int) []*delivery.Delivery {
	t.Helper()
	var out []*delivery.Delivery
	for i := range n {
		d := newDelivery(t, profile, "o"+string(rune('1'+i)), to)
		d.Ordered, d.Sequence = true, int64(i+1)
		if i > 0 {
			d.Previous = out[i-1].ID
		}
		out = append(out, d)
	}
	return out
}

// attempts waits until enough are recorded.
func (f *fixture) attempts(enough func([]*deliveryv1.Attempt) bool) (all []*deliveryv1.Attempt) {
	f.Helper()
	streamtest.Await(f.ctx, f, f.Client, stream.DeliveriesAttempts, func(records []stream.Record) bool {
		for _, r := range records[len(all):] {
			a := &deliveryv1.Attempt{}
			if err := proto.Unmarshal(r.Value, a); err != nil || a.GetPartition() != r.Partition {
				f.Fatalf("attempt of partition %d lies in %d: %v", a.GetPartition(), r.Partition, err)
			}
			all = append(all, a)
		}
		return enough(all)
	})
	return all
}

// of are the attempts of a delivery.
func of(d *delivery.Delivery, all []*deliveryv1.Attempt) (out []*deliveryv1.Attempt) {
	for _, a := range all {
		if a.GetDelivery() == d.ID {
			out = append(out, a)
		}
	}
	return out
}

// settlement waits for that of a delivery, and returns its attempts.
func (f *fixture) settlement(d *delivery.Delivery) []*deliveryv1.Attempt {
	f.Helper()
	all := f.attempts(func(all []*deliveryv1.Attempt) bool {
		mine := of(d, all)
		return len(mine) > 0 && mine[len(mine)-1].GetSettlement() != 0
	})
	return of(d, all)
}

// settled reports n settlements.
func settled(n int) func([]*deliveryv1.Attempt) bool {
	return func(all []*deliveryv1.Attempt) bool {
		found := 0
		for _, a := range all {
			if a.GetSettlement() != 0 {
				found++
			}
		}
		return found >= n
	}
}

// dead are the ids of the dead letters so far.
func (f *fixture) dead() map[string]bool {
	f.Helper()
	ids := map[string]bool{}
	for _, r := range streamtest.Await(f.ctx, f, f.Client, stream.DeliveriesDead, func([]stream.Record) bool { return true }) {
		ids[string(r.Key)] = true
	}
	return ids
}

// received waits until the server took n messages.
func (m *mailServer) received(f *fixture, n int) []received {
	f.Helper()
	for {
		if got := m.messages(); len(got) >= n {
			return got
		}
		select {
		case <-m.news:
		case <-f.ctx.Done():
			f.Fatalf("%d of %d messages were received", len(m.messages()), n)
		}
	}
}

// respond decides what the server answers from now on.
func (m *mailServer) respond(answer func(at, who string, n int) refusal) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer = answer
}

// times is how often the server was asked something about an address.
func (m *mailServer) times(at, who string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked[at+who]
}
