package main

import (
	"context"
	"crypto/hmac"
	crypto "crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// endpointCount endpoints are changed, and their receivers fail; behind them in number stand healthy ones, which are left
// alone. The first victims are disabled now and then: what waits for them is cancelled.
const (
	endpointCount = 24
	healthyCount  = 8
	victims       = 4
)

func endpointID(i int) string   { return fmt.Sprintf("e%02d", i) }
func endpointName(i int) string { return "tenants/acme/endpoints/" + endpointID(i) }

// endpoints changes the endpoints of the one tenant.
type endpoints struct {
	receiver *receiver
	service  configv1.EndpointServiceClient
	rand     *rand.Rand

	// mu is held while the configuration is changed, and while it is set back.
	mu      sync.Mutex
	now     [endpointCount + healthyCount]*configv1.Endpoint
	changes map[string]int
	rounds  int

	revisions sync.Mutex
	revision  int64
}

func newEndpoints(ctx context.Context, b *soak.Bed, r *receiver, seed uint64) (*endpoints, error) {
	conn, err := b.Fleet.Dial(b.Config.Address("grpc"))
	if err != nil {
		return nil, err
	}
	e := &endpoints{
		receiver: r, service: configv1.NewEndpointServiceClient(conn), rand: rand.New(rand.NewPCG(seed, 4)), changes: map[string]int{},
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := b.Fleet.Configure(ctx, &configv1.Tenant{Name: "tenants/acme", Outbound: r.policy()}); err != nil {
		return nil, err
	}
	for i := range e.now {
		e.now[i] = &configv1.Endpoint{
			Name: endpointName(i), Url: r.of(i).URL("/" + endpointID(i)), Secrets: []string{r.of(i).Secret},
			CaCertificates: r.of(i).Authority, Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
			Timeout: durationpb.New(time.Second), Headers: []*configv1.CustomHeader{{Name: "x-round", Value: "0"}},
		}
		r.knows(endpointID(i), r.of(i).Secret)
		revision, err := b.Fleet.Configure(ctx, e.now[i])
		if err != nil {
			return nil, err
		}
		e.note(revision)
	}
	return e, nil
}

func (e *endpoints) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("changes of endpoints: %v", e.changes)
}

// planned is the revision that a planner would know by now.
func (e *endpoints) planned() int64 {
	e.revisions.Lock()
	defer e.revisions.Unlock()
	return e.revision
}

func (e *endpoints) note(revision int64) {
	e.revisions.Lock()
	defer e.revisions.Unlock()
	e.revision = max(e.revision, revision)
}

// update changes fields of an endpoint, however long config is away; the caller holds mu. What was changed is tried again,
// since the answer may be lost.
func (e *endpoints) update(ctx context.Context, i int, fields ...string) error {
	for {
		calling, cancel := context.WithTimeout(ctx, 5*time.Second)
		out, err := e.service.UpdateEndpoint(calling, &configv1.UpdateEndpointRequest{
			Endpoint: e.now[i], UpdateMask: &fieldmaskpb.FieldMask{Paths: fields}, AllowMissing: true,
		})
		cancel()
		if err == nil {
			e.note(out.GetMetadata().GetRevision())
			return nil
		}
		if !pause.For(ctx, 200*time.Millisecond) {
			return fmt.Errorf("change %s: %w", e.now[i].GetName(), err)
		}
	}
}

// touch changes an endpoint in a way that means nothing; the caller holds mu.
func (e *endpoints) touch(ctx context.Context) error {
	e.now[0].DisplayName = fmt.Sprint("touched ", e.rand.Uint32())
	return e.update(ctx, 0, "display_name")
}

// restored makes the configuration what it was before it was set back; the caller holds mu.
func (e *endpoints) restored(ctx context.Context) error {
	for i := range e.now {
		if err := e.update(ctx, i, "url", "secrets", "status", "paused", "headers", "concurrency", "display_name"); err != nil {
			return err
		}
	}
	return nil
}

// run changes endpoints until stretch ends.
func (e *endpoints) run(ctx, stretch context.Context) error {
	for pause.For(stretch, 200*time.Millisecond) {
		if err := e.change(ctx, e.rand.IntN(endpointCount)); err != nil {
			return err
		}
	}
	return nil
}

func (e *endpoints) change(ctx context.Context, i int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := e.now[i]
	var what, field string
	switch n := e.rand.IntN(10); {
	case at.GetPaused():
		what, field, at.Paused = "resumed", "paused", false
	case at.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED:
		what, field, at.Status = "enabled", "status", configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
	case n < 3:
		what, field, at.Paused = "paused", "paused", true
	case n < 5:
		what, field = "secret rotated", "secrets"
		fresh := newSecret()
		e.receiver.knows(endpointID(i), fresh)
		at.Secrets = []string{fresh, at.GetSecrets()[0]}
	case n < 6:
		what, field = "url changed", "url"
		at.Url = e.receiver.of(i).URL("/"+endpointID(i)) + fmt.Sprintf("?v=%d", e.rand.Uint32())
	case n < 7:
		what, field = "concurrency changed", "concurrency"
		at.Concurrency = 1 + e.rand.Int32N(64)
	case n < 8 && i < victims:
		what, field, at.Status = "disabled", "status", configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED
	default:
		// One that answered 410 is suspended until then.
		what, field, at.Status = "set active", "status", configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
	}
	e.changes[what]++
	return e.update(ctx, i, field)
}

// mend lets every endpoint be sent to, and makes due what waits for its next attempt.
func (e *endpoints) mend(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rounds++
	for i, at := range e.now {
		at.Paused, at.Status = false, configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE
		at.Headers[0].Value = fmt.Sprint(e.rounds)
		if err := e.update(ctx, i, "paused", "status", "headers"); err != nil {
			return err
		}
	}
	return nil
}

func newSecret() string {
	var b [32]byte
	crypto.Read(b[:]) // it never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(b[:])
}

// signature is that of Standard Webhooks.
func signature(secret string, h http.Header, body []byte) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		panic(err) // it is ours
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
