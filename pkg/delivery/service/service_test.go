package service

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/schedule"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestLimits_NameWhatIsOutOfBounds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Limits)
		more   []Bound
		want   []string
	}{
		"the defaults are right": {change: func(*Limits) {}},
		"the least of each is right": {change: func(l *Limits) {
			*l = Limits{InFlight: 1, UnrecordedResultsMax: 1, WaitingMax: 1000, MaxAge: 36 * time.Hour}
		}},
		"the most of each is right": {change: func(l *Limits) {
			*l = Limits{InFlight: 65_536, UnrecordedResultsMax: 100_000, WaitingMax: 1_000_000, MaxAge: 1000 * time.Hour}
		}},
		"nothing is set": {
			change: func(l *Limits) { *l = Limits{} },
			want:   []string{"deliveries.in_flight", "deliveries.unrecorded_results_max", "deliveries.waiting_max", "deliveries.max_age"},
		},
		"all are beyond": {
			change: func(l *Limits) {
				*l = Limits{InFlight: 65_537, UnrecordedResultsMax: 100_001, WaitingMax: 1_000_001, MaxAge: 36*time.Hour - 1}
			},
			more: []Bound{{"smtp.connections", 3, 4, 5}, {"outbound.clients", 5, 4, 5}},
			want: []string{"deliveries.in_flight", "deliveries.unrecorded_results_max", "deliveries.waiting_max", "smtp.connections", "deliveries.max_age"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			limits := DefaultLimits()
			c.change(&limits)
			var f fault.Violations
			limits.Check(&f, c.more...)
			var got []string
			for _, v := range fault.ViolationsOf(f.Err(reason.ConfigInvalid)) {
				got = append(got, v.Field)
			}
			slices.Sort(got)
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestReporter_ReportsWhatIsKnown(t *testing.T) {
	at := time.Date(2027, 1, 15, 23, 30, 0, 0, time.UTC)
	health := []delivery.EndpointHealth{
		{Name: "healthy", Activation: 1, LastSuccess: at, Since: at},
		{
			Name: "failing", Activation: 2, Since: at, Failures: 12, FailingSince: at, LastSuccess: at.Add(-time.Hour), LastStatus: 421, LastError: "busy", CircuitOpen: true,
			NextProbe: at.Add(time.Second), HoldUntil: at.Add(time.Minute), Waiting: 7, Behind: 3,
		},
		{Name: "suspended", Activation: 3, Suspended: "gone", Since: at, Failures: 1},
	}
	want := []*configv1.EndpointHealthReport{
		{Name: "healthy", Health: &configv1.EndpointHealth{State: configv1.EndpointState_ENDPOINT_STATE_HEALTHY, Activation: 1, LastSuccess: timestamppb.New(at), Since: timestamppb.New(at)}},
		{Name: "failing", Health: &configv1.EndpointHealth{
			State: configv1.EndpointState_ENDPOINT_STATE_FAILING, Activation: 2, Since: timestamppb.New(at), Failures: 12, FailingSince: timestamppb.New(at),
			LastSuccess: timestamppb.New(at.Add(-time.Hour)), LastStatus: 421, LastError: "busy", CircuitOpen: true, NextProbe: timestamppb.New(at.Add(time.Second)),
			HoldUntil: timestamppb.New(at.Add(time.Minute)), Waiting: 7, Behind: 3,
		}},
		{Name: "suspended", Health: &configv1.EndpointHealth{State: configv1.EndpointState_ENDPOINT_STATE_SUSPENDED, Activation: 3, Reason: "gone", Since: timestamppb.New(at), Failures: 1}},
	}
	core, logs := observer.New(zapcore.InfoLevel)
	var got *configv1.ReportHealthRequest
	r := reporter{log: zap.New(core), report: func(_ context.Context, q *configv1.ReportHealthRequest, _ ...grpc.CallOption) (*configv1.ReportHealthResponse, error) {
		got = q
		return &configv1.ReportHealthResponse{Refused: []string{"suspended"}}, nil
	}}
	// One that is refused is of a target that changed: it is not reported again, and the others count.
	if err := r.Report(t.Context(), health); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, got.GetReports(), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if all := logs.All(); len(all) != 1 || all[0].ContextMap()["endpoint"] != "suspended" {
		t.Errorf("logged %v", all)
	}
	away := errors.New("away")
	r.report = func(context.Context, *configv1.ReportHealthRequest, ...grpc.CallOption) (*configv1.ReportHealthResponse, error) {
		return nil, away
	}
	if err := r.Report(t.Context(), health); !errors.Is(err, away) {
		t.Errorf("an error that has it reported again: %v", err)
	}
}

func TestTests_ALimitedNumberIsUnderWay(t *testing.T) {
	var known *configclient.Snapshot
	tests := NewTests(func() *configclient.Snapshot { return known })
	for range 2 * MaxTests { // one that fails takes no place
		if _, _, err := tests.Begin(); fault.KindOf(err) != fault.Unavailable {
			t.Fatalf("before a revision was read: %v", err)
		}
	}
	known = &configclient.Snapshot{Revision: 7}
	var ends []func()
	for range MaxTests {
		s, end, err := tests.Begin()
		if err != nil || s != known {
			t.Fatal(s, err)
		}
		ends = append(ends, end)
	}
	if _, _, err := tests.Begin(); fault.KindOf(err) != fault.Throttled {
		t.Errorf("beside %d: %v", MaxTests, err)
	}
	ends[0]()
	if _, _, err := tests.Begin(); err != nil {
		t.Errorf("once one has ended: %v", err)
	}
}

func TestTestAnswer_IsTheAttemptWhateverItsResult(t *testing.T) {
	d := &delivery.Delivery{ID: "dlv_1", Tenant: "acme", Endpoint: "e", ContentType: "text/plain", Body: []byte("hi")}
	answer, err := TestAnswer(t.Context(), d, &delivery.Outcome{Result: delivery.Refused, Status: 550, ErrorClass: "reply"})
	if a := answer.GetAttempt(); err != nil || a.GetDelivery() != "dlv_1" || a.GetStatus() != 550 || a.GetErrorClass() != "reply" || string(answer.GetBody()) != "hi" || answer.GetContentType() != "text/plain" {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := TestAnswer(t.Context(), d, &delivery.Outcome{Result: delivery.LocalFailure, Error: "no descriptor"}); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("nothing could be sent: %v", err)
	}
	hungUp := errors.New("hung up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(hungUp)
	if _, err := TestAnswer(ctx, d, &delivery.Outcome{Unfinished: true}); !errors.Is(err, hungUp) {
		t.Errorf("broken off: %v", err)
	}
}

func TestSchedule_IsInMinutesOfTheDay(t *testing.T) {
	if Schedule(nil) != nil {
		t.Error("always is a schedule")
	}
	weekdays := [7]bool{time.Monday: true, time.Friday: true}
	got := Schedule(&channel.Schedule{Zone: time.UTC, Hours: []channel.Hours{{Days: weekdays, Start: 8*time.Hour + 30*time.Minute, End: 24 * time.Hour}, {}}})
	want := &schedule.Schedule{Zone: time.UTC, Hours: []schedule.Hours{{Days: weekdays, Start: 510, End: 1440}, {}}}
	if got.Zone != want.Zone || !slices.Equal(got.Hours, want.Hours) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// published is a source of one revision after the other.
type published struct {
	changed chan struct{}

	mu  sync.Mutex
	s   *configclient.Snapshot
	err error
}

// set makes a snapshot the newest, which can't be read while err is set.
func (p *published) set(s *configclient.Snapshot, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s, p.err = s, err
}

func (p *published) read() (*configclient.Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.s, p.err
}

func (p *published) Newest() (apply, all int64, ok bool) {
	s, _ := p.read()
	return 0, 7, s != nil
}

func (p *published) Current(revision int64) bool {
	s, _ := p.read()
	return revision == s.Revision
}

func (p *published) Changed() <-chan struct{} { return p.changed }

func (p *published) At(context.Context, int64) (*configclient.Snapshot, error) { return p.read() }

// target is ready to be sent to.
type target struct {
	delivery.Target
	url string
}

// Between two revisions the targets that did not change are the same; one that is deleted or disabled is none any more, and
// all others are learned anew.
func TestDirectory_FollowsRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken []string
		ready := func(t *configclient.Target, _ *configclient.Snapshot, before *target) (*target, bool) {
			e := t.Value.(*webhook.Endpoint)
			if before != nil && before.url == e.URL {
				return before, e.Status != channel.Disabled
			}
			return &target{url: e.URL}, e.Status != channel.Disabled
		}
		health, source := daemon.NewHealth(), &published{changed: make(chan struct{})}
		d := NewDirectory(source, webhook.Channel.Target, ready, func(all []*target) {
			taken = nil
			for _, one := range all {
				taken = append(taken, one.url)
			}
			slices.Sort(taken)
		}, health, zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.Follow(ctx)
		synctest.Wait()
		if targets, _ := d.Newest(); targets != nil || d.Snapshot() != nil || d.Target("tenants/a/endpoints/x") != nil {
			t.Errorf("before a revision: %+v", targets)
		}
		publish := func(revision int64, endpoints ...*configv1.Endpoint) (before, after *delivery.Targets) {
			before, changed := d.Newest()
			snapshot := configclient.Decode(&configv1.Snapshot{Revision: revision, Tenants: []*configv1.Tenant{{Name: "tenants/a"}}, Endpoints: endpoints})
			source.set(snapshot, nil)
			source.changed <- struct{}{}
			synctest.Wait()
			select {
			case <-changed:
			default:
				t.Error("whoever waits for a change goes on waiting")
			}
			if d.Snapshot() != snapshot || !d.Current(revision) {
				t.Errorf("revision %d is not the newest", revision)
			}
			after, _ = d.Newest()
			return before, after
		}
		endpoint := func(id, url string, status configv1.EndpointStatus) *configv1.Endpoint {
			return &configv1.Endpoint{Name: "tenants/a/endpoints/" + id, Url: url, Status: status}
		}
		const active, disabled = configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, configv1.EndpointStatus_ENDPOINT_STATUS_DISABLED
		_, first := publish(7, endpoint("x", "https://x.example", active), endpoint("y", "https://y.example", active), endpoint("z", "https://z.example", active))
		if first.Revision != 7 || len(first.ByName) != 3 || first.Changed != nil || !slices.Equal(taken, []string{"https://x.example", "https://y.example", "https://z.example"}) {
			t.Errorf("first %+v, taken %q", first, taken)
		}
		x := d.Target("tenants/a/endpoints/x")
		_, second := publish(8, endpoint("x", "https://x.example", active), endpoint("y", "https://new.example", disabled))
		slices.Sort(second.Changed)
		if d.Target("tenants/a/endpoints/x") != x || d.Target("tenants/a/endpoints/y") != nil || d.Target("tenants/a/endpoints/z") != nil ||
			!second.Disabled["tenants/a/endpoints/y"] || second.Disabled["tenants/a/endpoints/z"] || second.Since != first.Serial || second.Serial == first.Serial ||
			!slices.Equal(second.Changed, []string{"tenants/a/endpoints/y", "tenants/a/endpoints/z"}) || !slices.Equal(taken, []string{"https://x.example"}) {
			t.Errorf("second %+v, taken %q", second, taken)
		}
		// One that can't be read leaves what is in force.
		newest, _ := source.read()
		source.set(newest, errors.New("away"))
		source.changed <- struct{}{}
		synctest.Wait()
		if now, _ := d.Newest(); now != second || len(health.Failing()) != 1 {
			t.Errorf("in force is %+v, health %v", now, health.Failing())
		}
		source.set(newest, nil)
		time.Sleep(RetryRead + time.Millisecond)
		synctest.Wait()
		if now, _ := d.Newest(); now == second || len(health.Failing()) != 0 {
			t.Errorf("in force is %+v, health %v", now, health.Failing())
		}
	})
}
