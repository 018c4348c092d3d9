package rpc

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// tenantKey is one of tenant a that may publish, and read what is created of invoices.
func tenantKey(secret string, change ...func(k *access.Key)) access.Key {
	k := access.Key{
		Name: "tenants/a/apiKeys/" + secret, Tenant: "a", Hash: access.HashOf(secret),
		Rights: access.Rights{
			Scopes: access.ScopesOf(access.Publish, access.Subscribe, access.OptionsRead),
			Grants: access.GrantsOf([]*configv1.QueueGrant{{Entity: "invoice", Operations: []configv1.QueueOperation{configv1.QueueOperation_QUEUE_OPERATION_CREATE}}}),
		},
	}
	for _, c := range change {
		c(&k)
	}
	return k
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAuthorizer_EndsWhatIsOpenUnderAKeyThatGivesLess(t *testing.T) {
	more := func(k *access.Key) {
		k.Rights.Scopes |= access.ScopesOf(access.Rules)
		k.Rights.Contact = true
	}
	for name, c := range map[string]struct {
		after []access.Key
		ends  bool
	}{
		"the key is withdrawn":                      {nil, true},
		"another key is withdrawn":                  {[]access.Key{tenantKey("one")}, false},
		"the key gives more":                        {[]access.Key{tenantKey("one", more)}, false},
		"the key has a scope less":                  {[]access.Key{tenantKey("one", func(k *access.Key) { k.Rights.Scopes = access.ScopesOf(access.Publish) })}, true},
		"the key has a grant less":                  {[]access.Key{tenantKey("one", func(k *access.Key) { k.Rights.Grants = access.Grants{} })}, true},
		"the key has a scope more and a grant less": {[]access.Key{tenantKey("one", more, func(k *access.Key) { k.Rights.Grants = access.Grants{} })}, true},
		"the key has expired":                       {[]access.Key{tenantKey("one", func(k *access.Key) { k.Expires = time.Unix(1, 0) })}, true},
		"the secret belongs to another key":         {[]access.Key{tenantKey("one", func(k *access.Key) { k.Name = "tenants/b/apiKeys/one"; k.Tenant = "b" })}, true},
		"the key expires later":                     {[]access.Key{tenantKey("one", func(k *access.Key) { k.Expires = time.Now().Add(time.Hour) })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			j := NewAuthorizer(&Keys{}, &Keys{}, time.Now)
			defer j.Close()
			j.Replace([]access.Key{tenantKey("one"), tenantKey("two")})
			_, ended, err := j.Authenticate("Bearer one")
			if err != nil || closed(ended) {
				t.Fatal(err, "or it has ended before it began")
			}
			j.Replace(c.after)
			if closed(ended) != c.ends {
				t.Errorf("ended: %v", !c.ends)
			}
		})
	}
}

func TestAuthorizer_AKeyExpiresByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := NewAuthorizer(&Keys{}, &Keys{}, time.Now)
		defer j.Close()
		expires := func(after time.Duration) func(k *access.Key) {
			return func(k *access.Key) { k.Expires = time.Now().Add(after) }
		}
		j.Replace([]access.Key{tenantKey("one", expires(time.Hour)), tenantKey("two", expires(2*time.Hour)), tenantKey("three")})
		var ended []<-chan struct{}
		for _, secret := range []string{"one", "two", "three"} {
			_, e, err := j.Authenticate("Bearer " + secret)
			if err != nil {
				t.Fatal(err)
			}
			ended = append(ended, e)
		}
		begin := time.Now()
		<-ended[0]
		if took := time.Since(begin); took < time.Hour || took > time.Hour+lookAgain {
			t.Errorf("the first ended after %s", took)
		}
		if _, _, err := j.Authenticate("Bearer one"); fault.ReasonOf(err) != reason.APIKeyExpired {
			t.Error(err)
		}
		<-ended[1]
		if took := time.Since(begin); took < 2*time.Hour || took > 2*time.Hour+lookAgain {
			t.Errorf("the second ended after %s", took)
		}
		if closed(ended[2]) {
			t.Error("a key without an expiry has ended")
		}
		// Its expiry is moved: it is valid again, for what begins now.
		j.Replace([]access.Key{tenantKey("one", expires(time.Hour))})
		if _, e, err := j.Authenticate("Bearer one"); err != nil || closed(e) {
			t.Error(err, closed(e))
		}
	})
}

func TestAuthorizer_ReadsTheClockThatIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		j := NewAuthorizer(&Keys{}, &Keys{}, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		defer j.Close()
		j.Replace([]access.Key{tenantKey("one", func(k *access.Key) { k.Expires = time.Now().Add(24 * time.Hour) })})
		_, ended, _ := j.Authenticate("Bearer one")
		begin := time.Now()
		ahead.Store(int64(48 * time.Hour))
		<-ended
		if took := time.Since(begin); took > lookAgain {
			t.Errorf("ended %s after the clock was set", took)
		}
	})
}

// inventory is a service that a tenant's key may call.
type inventory struct {
	optionsv1.UnimplementedOptionInventoryServiceServer
	watch func(stream grpc.ServerStreamingServer[optionsv1.WatchResponse]) error
}

func (i *inventory) Watch(_ *optionsv1.WatchRequest, stream grpc.ServerStreamingServer[optionsv1.WatchResponse]) error {
	if err := stream.Send(&optionsv1.WatchResponse{}); err != nil {
		return err
	}
	return i.watch(stream)
}

// watch opens a stream with the key "one" of tenant a.
func (r *running) watch(t *testing.T) grpc.ServerStreamingClient[optionsv1.WatchResponse] {
	t.Helper()
	stream, err := optionsv1.NewOptionInventoryServiceClient(dial(t, r.address, "one")).Watch(t.Context(), &optionsv1.WatchRequest{Name: "tenants/a/subscribers/1"})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestServer_ATenantsKeyIsKnownToTheHandler(t *testing.T) {
	r := serve(t, nil)
	callers := make(chan *access.Caller, 1)
	r.inventory.watch = func(stream grpc.ServerStreamingServer[optionsv1.WatchResponse]) error {
		callers <- CallerOf(stream.Context())
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	r.server.Authorizer().Replace([]access.Key{tenantKey("one")})
	stream := r.watch(t)
	c := <-callers
	if c.ID != access.HashOf("one").Caller() || c.Key.Tenant != "a" || c.Operator || c.Service ||
		!c.Allows("invoice", event.Create) || c.Allows("invoice", event.Update) || !c.Reaches("a") || c.Reaches("b") {
		t.Errorf("%+v", c)
	}
	r.server.Authorizer().Replace(nil)
	if _, err := stream.Recv(); fault.KindOf(err) != fault.Unauthenticated || fault.ReasonOf(err) != reason.APIKeyEnded {
		t.Errorf("the stream goes on under a withdrawn key: %v", err)
	}
	_, err := optionsv1.NewOptionInventoryServiceClient(dial(t, r.address, "one")).GetDataSafeguard(t.Context(), &optionsv1.GetDataSafeguardRequest{Name: "tenants/a/subscribers/1"})
	if fault.ReasonOf(err) != reason.APIKeyUnknown {
		t.Errorf("a withdrawn key: %v", err)
	}
}

// A stream that waits for KeyEnded answers what it has taken before it ends.
func TestServer_AStreamMayAnswerBeforeItEnds(t *testing.T) {
	r := serve(t, nil)
	r.inventory.watch = func(stream grpc.ServerStreamingServer[optionsv1.WatchResponse]) error {
		<-KeyEnded(stream.Context())
		if err := stream.Send(&optionsv1.WatchResponse{Gone: true}); err != nil {
			return err
		}
		return ErrKeyEnded()
	}
	r.server.Authorizer().Replace([]access.Key{tenantKey("one")})
	stream := r.watch(t)
	r.server.Authorizer().Replace(nil)
	if last, err := stream.Recv(); err != nil || !last.GetGone() {
		t.Fatalf("%v: %v", last, err)
	}
	if _, err := stream.Recv(); fault.ReasonOf(err) != reason.APIKeyEnded {
		t.Error(err)
	}
}

// handled is a stream as its handler has it, without a connection.
type handled struct {
	grpc.ServerStream
	ctx context.Context
}

func (h handled) Context() context.Context { return h.ctx }

// No stream goes on two seconds after its key was withdrawn: one that does not wait for KeyEnded is ended.
func TestServer_AStreamThatGoesOnIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, err := newOutcomes(daemon.NewEnv("config", zap.NewNop()))
		if err != nil {
			t.Fatal(err)
		}
		s := &Server{outcomes: o}
		ended := make(chan struct{})
		close(ended)
		began := time.Now()
		err = s.streaming("/x.Y/Z", func(_ any, of grpc.ServerStream) error {
			<-of.Context().Done()
			return of.Context().Err()
		})(nil, handled{ctx: context.WithValue(t.Context(), callKey{}, &call{ended: ended, hold: unbounded.Hold()})})
		if took := time.Since(began); fault.ReasonOf(fault.FromGRPC(err)) != reason.APIKeyEnded || took != time.Second {
			t.Errorf("it ends after %s with %v", took, err)
		}
	})
}
