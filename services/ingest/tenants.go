package ingest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"

	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

const (
	// tenantsEvery is how often the tenants are read while no event names an unknown one: by then a deleted one is
	// refused.
	tenantsEvery = 10 * time.Second
	// tenantsRetry is how often they are read while configuration does not answer.
	tenantsRetry = time.Second
	// tenantsPause is between two readings at least, however many events name tenants that are not known.
	tenantsPause = 100 * time.Millisecond
	// tenantsPatience bounds one reading, and so what an event waits for it.
	tenantsPatience = time.Second
)

// tenants finds events of tenants that do not exist. Absence has to be known: by a reading of configuration that began
// after the event came, so that a tenant made a moment ago is in it. While configuration does not answer, everything is
// accepted: the counters know what a tenant is to them.
type tenants struct {
	list func(ctx context.Context) (map[string]struct{}, error)
	log  *zap.Logger
	// known are those of the last reading, nil before the first.
	known  atomic.Pointer[map[string]struct{}]
	wanted chan struct{}

	mu sync.Mutex
	// answers is false while configuration did not answer the last reading.
	answers bool
	// next is the reading that begins next, where an event waits for it.
	next *reading
	read time.Time
}

// reading is one of all tenants; complete is valid once done is closed.
type reading struct {
	done     chan struct{}
	complete bool
}

func newTenants(list func(ctx context.Context) (map[string]struct{}, error), log *zap.Logger) *tenants {
	return &tenants{list: list, log: log, wanted: make(chan struct{}, 1), answers: true}
}

// openTenants reads from the configuration service; stop gives the connection back.
func openTenants(cfg configclient.Config, log *zap.Logger) (t *tenants, stop func() error, err error) {
	conn, err := cfg.Dial()
	if err != nil {
		return nil, nil, fmt.Errorf("read tenants: %w", err)
	}
	client := configv1.NewTenantServiceClient(conn)
	return newTenants(func(ctx context.Context) (map[string]struct{}, error) { return listTenants(ctx, client) },
		log), conn.Close, nil
}

func listTenants(ctx context.Context, client configv1.TenantServiceClient) (map[string]struct{}, error) {
	all := map[string]struct{}{}
	req := &configv1.ListTenantsRequest{PageSize: 1000}
	for {
		page, err := client.ListTenants(ctx, req)
		if err != nil {
			return nil, err
		}
		for _, t := range page.GetTenants() {
			all[strings.TrimPrefix(t.GetName(), "tenants/")] = struct{}{}
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			return all, nil
		}
	}
}

// run reads until ctx ends: at times, and when an event waits.
func (t *tenants) run(ctx context.Context) error {
	defer t.ended()
	for ctx.Err() == nil {
		wait := tenantsEvery
		if !t.once(ctx) {
			wait = tenantsRetry
		}
		if !sleep(ctx, tenantsPause, nil) || !sleep(ctx, wait-tenantsPause, t.wanted) {
			return nil
		}
	}
	return nil
}

// ended releases all that wait, now and later: calls are answered after ctx has ended.
func (t *tenants) ended() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.answers = false; t.next != nil {
		close(t.next.done)
		t.next = nil
	}
}

// sleep is false when ctx ended; a signal ends it early.
func sleep(ctx context.Context, d time.Duration, signal <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-signal:
	case <-ctx.Done():
		return false
	}
	return true
}

// once is one reading, for all events that wait for the next; false where configuration did not answer.
func (t *tenants) once(ctx context.Context) bool {
	t.mu.Lock()
	mine := t.next
	t.next = nil
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, tenantsPatience)
	defer cancel()
	all, err := t.list(ctx)

	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.known.Load() == nil
	switch {
	case err == nil:
		if first || !t.answers {
			t.log.Info("tenants read", zap.Int("tenants", len(all)))
		}
		t.known.Store(&all)
		t.read = time.Now()
	case first || t.answers:
		t.log.Warn("tenants not read, events of any tenant are accepted", zap.Error(err))
	}
	t.answers = err == nil
	waiting := []*reading{mine}
	if err != nil { // events that began to wait meanwhile do not wait for another failure
		waiting, t.next = append(waiting, t.next), nil
	}
	for _, r := range waiting {
		if r != nil {
			r.complete = err == nil
			close(r.done)
		}
	}
	return err == nil
}

// validate makes UNKNOWN_TENANT the error of each event whose tenant does not exist.
func (t *tenants) validate(ctx context.Context, parsed []event.Parsed) {
	if t.all(parsed) || !t.readAnew(ctx) {
		return
	}
	known := *t.known.Load()
	for i := range parsed {
		if e := parsed[i].Event; parsed[i].Err == nil {
			if _, ok := known[e.Tenant]; !ok {
				parsed[i].Err = fault.NewInvalid(reason.UnknownTenant,
					fault.Violation{Field: "tenant", Description: fmt.Sprintf("%q does not exist", e.Tenant)})
			}
		}
	}
}

// exists reports whether there is a tenant; true also where that can't be known now.
func (t *tenants) exists(ctx context.Context, tenant string) bool {
	one := []event.Parsed{{Event: &event.Event{Tenant: tenant}}}
	t.validate(ctx, one)
	return one[0].Err == nil
}

// all reports that each valid event is of a known tenant.
func (t *tenants) all(parsed []event.Parsed) bool {
	known := t.known.Load()
	for i := range parsed {
		if parsed[i].Err != nil {
			continue
		}
		if known == nil {
			return false
		}
		if _, ok := (*known)[parsed[i].Event.Tenant]; !ok {
			return false
		}
	}
	return true
}

// readAnew returns once a reading is complete that began after the call; false where there is none to be had now.
func (t *tenants) readAnew(ctx context.Context) bool {
	t.mu.Lock()
	if !t.answers {
		t.mu.Unlock()
		return false
	}
	if t.next == nil {
		t.next = &reading{done: make(chan struct{})}
	}
	r := t.next
	t.mu.Unlock()
	signal(t.wanted)
	select {
	case <-r.done:
		return r.complete
	case <-ctx.Done():
		return false
	}
}

// age is how long ago the tenants were last read, in seconds; -1 before the first time.
func (t *tenants) age() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.read.IsZero() {
		return -1
	}
	return time.Since(t.read).Seconds()
}
