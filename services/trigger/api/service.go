package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Reasons of this service alone.
const (
	ReasonNotificationNotFound = "NOTIFICATION_NOT_FOUND"
	ReasonEventNotFound        = "EVENT_NOT_FOUND"
	ReasonDryRunBusy           = "DRY_RUN_BUSY"
	ReasonExplainBusy          = "EXPLAIN_BUSY"
)

// maxDraft bounds a notification in a request, in bytes.
const maxDraft = 256 << 10

// busyFor is how long a caller is asked to wait where too many ask at once.
const busyFor = 5 * time.Second

// Services is what RuleService answers from.
type Services struct {
	Planner Planner
	Client  *stream.Client
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Register lets the server answer.
func (x Services) Register(server *rpc.Server) error {
	m, err := newMetrics(x.Metrics)
	if err != nil {
		return err
	}
	triggerv1.RegisterRuleServiceServer(server, &ruleService{
		planner: x.Planner, records: x.Client, topic: x.Client.Topic, clock: x.Clock, metrics: m, stopping: server.Stopping(),
		dryRuns:  gate{most: 2, reason: ReasonDryRunBusy, what: "a dry run of the tenant, or two of others, is under way"},
		explains: gate{most: 2, reason: ReasonExplainBusy, what: "two events are being explained"},
		bounds:   bounds{maxRecords, maxMemory, maxTime},
	})
	return nil
}

// ruleService serves RuleService.
type ruleService struct {
	triggerv1.UnimplementedRuleServiceServer
	planner  Planner
	records  records
	topic    func(string) string
	clock    func() time.Time
	metrics  *metrics
	stopping <-chan struct{}
	bounds   bounds

	dryRuns, explains gate
}

// gate lets few in at once, and of each key one; "" is no key.
type gate struct {
	most         int
	reason, what string

	mu     sync.Mutex
	inside int
	keys   map[string]bool
}

// enter refuses with when to try again; leave must follow.
func (g *gate) enter(key string) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside >= g.most || g.keys[key] {
		return nil, fault.New(fault.Throttled, g.reason, "%s: try again later", g.what).After(busyFor)
	}
	if g.keys == nil {
		g.keys = map[string]bool{}
	}
	g.inside++
	if key != "" {
		g.keys[key] = true
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.inside--
		delete(g.keys, key)
	}, nil
}

// book is the configuration to answer by.
func (s *ruleService) book() (Book, error) {
	b, ok := s.planner.Latest()
	if !ok {
		return nil, fault.New(fault.Unavailable, reason.ConfigNotRead, "the configuration is not read yet: ask again").After(time.Second)
	}
	return b, nil
}

// asked is the notification that a request names or holds.
type asked interface {
	GetName() string
	GetNotification() *configv1.Notification
}

// trial compiles the notification of a request. What is wrong with it is added to f; nil then.
func trial(b Book, req asked, f *fault.Violations) (Trial, error) {
	n, field := req.GetNotification(), "notification."
	if n == nil {
		field = ""
		tenant, code := channel.SplitName(req.GetName(), "notifications")
		if tenant == "" || code == "" {
			f.Add("name", `must be "tenants/{tenant}/notifications/{code}", or notification must be set`)
			return nil, nil
		}
		if n = b.Notification(req.GetName()); n == nil {
			return nil, fault.New(fault.NotFound, ReasonNotificationNotFound, "no notification has the name %.200q", req.GetName())
		}
	}
	if size := proto.Size(n); size > maxDraft {
		f.Add("notification", "must be at most %d bytes, has %d", maxDraft, size)
		return nil, nil
	}
	if tenant, _ := channel.SplitName(n.GetName(), "notifications"); tenant != "" && !b.Has(tenant) {
		f.Add(field+"name", "no tenant has the id %.100q", tenant)
	}
	t, err := b.Try(n)
	if err != nil {
		f.AddErr(strings.TrimSuffix(field, "."), err)
		return nil, nil
	}
	return t, nil
}

// at finds the log of a position.
func (s *ruleService) at(ctx context.Context, p *triggerv1.EventPosition, f *fault.Violations) (l Log, err error) {
	for _, known := range s.planner.Logs() {
		if known.Topic == s.topic(p.GetTopic()) {
			l = known
		}
	}
	switch {
	case l.Topic == "":
		f.Add("position.topic", "must be a topic that deliveries are planned from, is %.100q", p.GetTopic())
		return l, nil
	case p.GetOffset() < 0:
		f.Add("position.offset", "must not be negative")
	}
	n, err := s.records.Partitions(ctx, l.Topic)
	if err != nil {
		return l, fmt.Errorf("find partitions: %w", err)
	}
	if p.GetPartition() < 0 || int(p.GetPartition()) >= n {
		f.Add("position.partition", "must be from 0 to %d, is %d", n-1, p.GetPartition())
	}
	return l, nil
}

// event reads one event of a tenant.
func (s *ruleService) event(ctx context.Context, tenant string, l Log, p *triggerv1.EventPosition) (*event.Event, error) {
	notFound := fault.New(fault.NotFound, ReasonEventNotFound, "no event of the tenant stands at offset %d of %s/%d, or it is kept no longer", p.GetOffset(), l.Topic, p.GetPartition())
	b, err := s.records.FetchFrom(ctx, l.Topic, p.GetPartition(), p.GetOffset(), 1)
	if _, gone := errors.AsType[*stream.OutOfRangeError](err); gone {
		return nil, notFound
	}
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	if len(b.Records) == 0 || b.Records[0].Offset != p.GetOffset() {
		return nil, notFound
	}
	e, err := event.Decode(b.Records[0].Value)
	if err != nil || e.Tenant != tenant || event.IsControl(e.Type) {
		return nil, notFound // not an event of the tenant
	}
	return e, nil
}

// readable bounds how long Kafka is waited for; the cause is the answer where it took longer.
func readable(ctx context.Context, within time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, within,
		fault.New(fault.Unavailable, reason.Rebuilding, "the log could not be read in time: ask again").After(busyFor))
}

// until ends with the caller, and when the process begins to end.
func (s *ruleService) until(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.stopping:
			cancel(rpc.ErrStopping())
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
