package webhook

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

func TestMain(m *testing.M) {
	streamtest.VerifyTestMain(m)
}

// fixture is everything the service needs, on one pair of servers.
type fixture struct {
	*frametest.Bed
	ctx      context.Context
	cfg      Config
	client   *stream.Client
	producer *stream.Producer
	redis    *redis.Client
	link     *link
}

// onServers runs a test beside the others: each mostly waits, for a first repeat or for partitions that change hands.
func onServers(t *testing.T, test func(f *fixture)) {
	t.Parallel()
	frametest.OnServers(t, 2, func(b *frametest.Bed) { test(newFixture(b)) })
}

func newFixture(b *frametest.Bed) *fixture {
	f := &fixture{Bed: b, ctx: b.Ctx, cfg: DefaultConfig(), client: b.Client, producer: b.Producer}
	f.cfg.Config = b.Config
	f.cfg.Secrets.KeysetFile = secrettest.File(b)
	f.redis = redis.NewClient(&redis.Options{Addr: b.Config.Redis.Address})
	b.Cleanup(func() { _ = f.redis.Close() })
	f.link = newLink(b.T, b.Config.Redis.Address)
	f.cfg.Redis.Address = f.link.address
	return f
}

// configure makes the receivers the endpoints of the tenant acme, in a new revision.
func (f *fixture) configure(receivers ...*receiving) {
	f.configureWith(func(*configv1.Endpoint) {}, receivers...)
}

// configureWith changes each endpoint before it is saved.
func (f *fixture) configureWith(change func(*configv1.Endpoint), receivers ...*receiving) {
	s := &configv1.Snapshot{Revision: f.Configuration.Newest() + 1}
	s.ApplyRevision = s.Revision
	policy := &configv1.OutboundPolicy{Networks: []string{"127.0.0.0/8"}}
	for _, r := range receivers {
		policy.Ports = append(policy.Ports, r.port)
		e := &configv1.Endpoint{
			Name: r.name, Url: r.url + "/hook", CaCertificates: r.ca, Secrets: []string{r.secret},
			Headers: []*configv1.CustomHeader{{Name: "X-Api-Key", Value: "hush"}},
		}
		change(e)
		s.Endpoints = append(s.Endpoints, e)
	}
	s.Tenants = []*configv1.Tenant{{Name: "tenants/acme", Outbound: policy}}
	f.Configuration.Save(s)
}

// running is the service as it is deployed.
type running struct {
	env  daemon.Env
	stop func() error
}

func (f *fixture) start() *running {
	f.Helper()
	env, stop := f.Run("webhook", func(ctx context.Context, env daemon.Env) error { return Run(ctx, f.cfg, env) })
	return &running{env, stop}
}

// receiving is the endpoint of a tenant.
type receiving struct {
	name, url, ca, secret string
	port                  uint32
	server                *httptest.Server

	mu     sync.Mutex
	got    []receipt
	answer func(n int) (code int)
	news   chan struct{}
}

type receipt struct {
	id, sequence, previous, body string
	verified                     error
}

func newReceiver(t *testing.T, id string) *receiving {
	key := []byte("thirty-two bytes of a secret key")
	r := &receiving{
		name: "tenants/acme/endpoints/" + id, secret: "whsec_" + base64.StdEncoding.EncodeToString(key),
		answer: func(int) int { return http.StatusNoContent }, news: make(chan struct{}, 1),
	}
	verify, err := standardwebhooks.NewWebhook(r.secret)
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.mu.Lock()
		r.got = append(r.got, receipt{
			id: req.Header.Get("webhook-id"), sequence: req.Header.Get("tollgate-sequence"), previous: req.Header.Get("tollgate-previous"),
			body: string(body), verified: verify.Verify(body, req.Header),
		})
		code := r.answer(len(r.got))
		r.mu.Unlock()
		select {
		case r.news <- struct{}{}:
		default:
		}
		w.Header().Set("X-Answer", "\xff not text")
		w.WriteHeader(code)
		if code != http.StatusNoContent {
			_, _ = io.WriteString(w, "because")
		}
	}))
	t.Cleanup(r.server.Close)
	r.url = r.server.URL
	_, port, _ := net.SplitHostPort(r.server.Listener.Addr().String())
	n, _ := strconv.Atoi(port)
	r.port = uint32(n)
	r.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw}))
	return r
}

func (r *receiving) respond(answer func(n int) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// receipts waits until there are n.
func (r *receiving) receipts(f *fixture, n int) []receipt {
	f.Helper()
	for {
		r.mu.Lock()
		got := append([]receipt(nil), r.got...)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.news:
		case <-f.ctx.Done():
			f.Fatalf("%s received %d of %d", r.name, len(got), n)
		}
	}
}

// plan puts deliveries into the log.
func (f *fixture) plan(ds ...*delivery.Delivery) {
	f.Helper()
	var recs []stream.Record
	for _, d := range ds {
		rec, err := d.Record(f.client.Topic(webhook.Channel.Topic))
		if err != nil {
			f.Fatal(err)
		}
		recs = append(recs, rec)
	}
	if err := f.producer.Produce(f.ctx, recs...); err != nil {
		f.Fatal(err)
	}
}

// ordered makes n deliveries of one ordering key.
func ordered(r *receiving, subject string, from, n int) []*delivery.Delivery {
	var out []*delivery.Delivery
	previous := ""
	for i := from; i < from+n; i++ {
		at := time.Now().UTC().Truncate(time.Millisecond)
		id := delivery.NewID(at, "acme", "test", subject, subject+strconv.Itoa(i), "n", "a", "", r.name)
		out = append(out, &delivery.Delivery{
			ID: id, Tenant: "acme", Notification: "n", Action: "a", Endpoint: r.name, Ordered: true, Sequence: int64(i), Previous: previous,
			Event:       delivery.EventReference{Source: "test", ID: subject + strconv.Itoa(i), Type: "t", Subject: subject, Topic: "events.ordered"},
			ContentType: "application/json", Body: []byte(`{"n":` + strconv.Itoa(i) + `}`), PlannedAt: at, Revision: 1,
		})
		previous = id
	}
	return out
}

// attempts waits until enough are recorded, and gives each with the partition it lies in.
func (f *fixture) attempts(enough func([]*deliveryv1.Attempt) bool) []*deliveryv1.Attempt {
	f.Helper()
	next := make([]int64, 2)
	var all []*deliveryv1.Attempt
	for {
		for p := range next {
			b, err := f.client.FetchFrom(f.ctx, f.client.Topic(stream.DeliveriesAttempts), int32(p), next[p], 8<<20)
			if err != nil {
				f.Fatalf("%d attempts are not enough: %v", len(all), err)
			}
			next[p] = b.Next
			for _, r := range b.Records {
				a := &deliveryv1.Attempt{}
				if err := proto.Unmarshal(r.Value, a); err != nil {
					f.Fatal(err)
				}
				if a.GetPartition() != r.Partition {
					f.Fatalf("attempt of partition %d lies in %d", a.GetPartition(), r.Partition)
				}
				all = append(all, a)
			}
		}
		if enough(all) {
			return all
		}
		pause.For(f.ctx, 5*time.Millisecond)
	}
}

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

// link is a connection to Redis that can be held and cut.
type link struct {
	address string
	// held gets each request that waits for release, while the link is armed.
	held    chan struct{}
	release chan struct{}

	mu    sync.Mutex
	armed bool
	down  chan struct{} // closed while cut
	open  map[net.Conn]bool
}

func newLink(t *testing.T, to string) *link {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{
		address: listener.Addr().String(), open: map[net.Conn]bool{}, down: make(chan struct{}),
		held: make(chan struct{}), release: make(chan struct{}),
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !l.add(in, out) {
				_ = in.Close()
				if err == nil {
					_ = out.Close()
				}
				continue
			}
			wait.Go(func() { l.ask(in, out) })
			wait.Go(func() {
				_, _ = io.Copy(in, out)
				_ = in.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		wait.Wait()
	})
	return l
}

func (l *link) add(in, out net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.down:
		return false
	default:
	}
	l.open[in], l.open[out] = true, true
	return true
}

// ask passes requests on, one by one while armed.
func (l *link) ask(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 1<<20)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		l.mu.Lock()
		armed, down := l.armed, l.down
		l.mu.Unlock()
		if armed {
			select {
			case l.held <- struct{}{}:
			case <-down:
				return
			}
			select {
			case <-l.release:
			case <-down:
				return
			}
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *link) arm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed = true
}

// cut breaks every connection; what was held never arrives.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.down:
		return
	default:
	}
	close(l.down)
	for c := range l.open {
		_ = c.Close()
	}
	clear(l.open)
}

func (l *link) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.down = false, make(chan struct{})
}
