package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// registry is a configuration service as tenants ask it.
type registry struct {
	mu       sync.Mutex
	there    map[string]struct{}
	readings int
	takes    time.Duration
	fails    error
}

func (r *registry) list(ctx context.Context, _ *directory) (*directory, error) {
	ctx, cancel := context.WithTimeout(ctx, tenantsPatience)
	defer cancel()
	r.mu.Lock()
	r.readings++
	all := &directory{tenants: map[string]*tenantEvents{}}
	for name := range r.there {
		all.tenants[name] = &tenantEvents{}
	}
	takes := r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
		r.mu.Lock()
		defer r.mu.Unlock()
		return all, r.fails
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// change calls f, which changes it, while it is read.
func (r *registry) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *registry) add(name string) { r.change(func() { r.there[name] = struct{}{} }) }

func (r *registry) read() (n int) {
	r.change(func() { n = r.readings })
	return n
}

// asks runs tenants over a registry on a clock of its own.
func asks(t *testing.T, test func(t *testing.T, r *registry, refused func(tenants ...string) string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := &registry{there: map[string]struct{}{"acme": {}}, takes: 10 * time.Millisecond}
		known := newTenants(r.list, zap.NewNop())
		ended := make(chan error, 1)
		go func() { ended <- known.run(ctx) }()
		test(t, r, func(tenants ...string) string {
			parsed := known.parse(ctx, inputs{len(tenants), func(i int, _ event.Parser) (*event.Event, error) {
				return &event.Event{Tenant: tenants[i]}, nil
			}})
			names := ""
			for i, p := range parsed {
				if p.Err == nil {
					continue
				}
				if v := fault.ViolationsOf(p.Err); fault.ReasonOf(p.Err) != reason.UnknownTenant || len(v) != 1 ||
					v[0].String() != fmt.Sprintf("tenant: %q does not exist", tenants[i]) {
					t.Errorf("%v", p.Err)
				}
				names += tenants[i] + " "
			}
			return names
		})
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestTenants_RefusesUnknown(t *testing.T) {
	t.Parallel()
	asks(t, func(t *testing.T, r *registry, refused func(...string) string) {
		if got := refused("acme", "unknown", "acme", "none"); got != "unknown none " {
			t.Errorf("refused %q", got)
		}
		if got := refused("acme"); got != "" {
			t.Errorf("refused %q", got)
		}
	})
}

// A new tenant sends its first event at once.
func TestTenants_KnowsATenantCreatedAMomentAgo(t *testing.T) {
	t.Parallel()
	asks(t, func(t *testing.T, r *registry, refused func(...string) string) {
		refused("acme")
		for i := range 20 {
			name := fmt.Sprintf("new-%d", i)
			if got := refused(name); got == "" {
				t.Fatalf("%s is accepted before it exists", name)
			}
			r.add(name)
			if got := refused(name); got != "" {
				t.Fatalf("%s is refused after it was made", name)
			}
		}
	})
}

func TestTenants_ManyUnknownShareReadings(t *testing.T) {
	t.Parallel()
	asks(t, func(t *testing.T, r *registry, refused func(...string) string) {
		refused("acme")
		began, before := time.Now(), r.read()
		done := make(chan string)
		for i := range 200 {
			go func() {
				for range 5 {
					if refused(fmt.Sprintf("no-%d", i)) == "" {
						done <- "accepted"
						return
					}
				}
				done <- ""
			}()
		}
		for range 200 {
			if names := <-done; names != "" {
				t.Error(names)
			}
		}
		if took := time.Since(began); r.read()-before > 7 || took > time.Second {
			t.Errorf("%d readings in %v", r.read()-before, took)
		}
	})
}

func TestTenants_AcceptsAllWhileConfigurationIsAway(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*registry){
		"it is away": func(r *registry) { r.change(func() { r.fails = errors.New("away") }) },
		"it hangs":   func(r *registry) { r.change(func() { r.takes = time.Hour }) },
	} {
		t.Run(name, func(t *testing.T) {
			asks(t, func(t *testing.T, r *registry, refused func(...string) string) {
				fail(r)
				began := time.Now()
				for range 100 {
					if got := refused("unknown", "acme"); got != "" {
						t.Fatalf("refused %q by ignorance", got)
					}
				}
				if took := time.Since(began); took > 2*tenantsPatience {
					t.Errorf("events waited %v", took)
				}
				// It comes back, and is asked again without an event.
				r.change(func() { r.fails, r.takes = nil, 0 })
				time.Sleep(tenantsRetry + tenantsPatience + time.Second)
				if got := refused("unknown", "acme"); got != "unknown " {
					t.Errorf("refused %q", got)
				}
				// And goes again: what was known goes on, what was not is accepted.
				fail(r)
				time.Sleep(tenantsEvery + 2*tenantsPatience)
				if got := refused("unknown", "acme"); got != "" {
					t.Errorf("refused %q by ignorance", got)
				}
			})
		})
	}
}

func TestTenants_RefusesADeletedTenantInTime(t *testing.T) {
	t.Parallel()
	asks(t, func(t *testing.T, r *registry, refused func(...string) string) {
		refused("acme")
		r.change(func() { delete(r.there, "acme") })
		time.Sleep(tenantsEvery + time.Second)
		if got := refused("acme"); got != "acme " {
			t.Errorf("refused %q", got)
		}
	})
}
