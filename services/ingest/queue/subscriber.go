package queue

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/ingest/queue/window"
)

const canceled = codes.Canceled

// subscriber is one stream.
type subscriber struct {
	q            *Queue
	out          grpc.ServerStream
	hold         *rpc.Hold
	id           streamID
	of           subscriptionID
	tenant, name string
	group        string
	ordered      bool
	start        *ingestv1.Start
	selection    *selection
	parts        []partition
	keeper       *keeper // nil without a name
	waiter       *waiter

	// What follows is of run alone.
	turn     int
	filter   *rate.Limiter
	quiet    time.Time // nothing is read before
	sendings []window.Sending
	events   []window.Event
	buffer   []byte

	mu sync.Mutex
	w  *window.Window
	// taken is what is held of the budget for the window.
	taken        int64
	filterErrors int64

	stopped  chan struct{}
	reason   error
	stopOnce sync.Once
	closed   chan struct{}
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// newSubscriber validates a subscription; every fault is listed.
func (q *Queue) newSubscriber(ctx context.Context, out grpc.ServerStream, hold *rpc.Hold, want *ingestv1.Subscription) (*subscriber, error) {
	caller := rpc.CallerOf(ctx)
	tenant := want.GetTenant()
	var f fault.Violations
	var inner fault.Violations
	switch {
	case tenant == "" || len(tenant) > 63:
		inner.Add("tenant", "must be the id of a tenant")
	case !caller.Reaches(tenant):
		return nil, fault.New(fault.Denied, reasonTenantDenied, "the API key may not read events of tenant %q", tenant)
	case !q.exists(ctx, tenant):
		inner.AddAs(reason.UnknownTenant, "tenant", "%q does not exist", tenant)
	}
	if want.GetName() != "" && !namePattern.MatchString(want.GetName()) {
		inner.Add("name", "must be 1 to 63 letters, digits, dots, dashes and underscores, and begin with a letter or digit")
	}
	s := &subscriber{
		q: q, out: out, hold: hold, tenant: tenant, name: want.GetName(), ordered: want.GetOrdered(), start: want.GetStart(),
		waiter: newWaiter(tenant), filter: rate.NewLimiter(filterPerSecond, filterPerSecond), stopped: make(chan struct{}), closed: make(chan struct{}),
	}
	s.of = newSubscriptionID(tenant, s.name)
	if _, err := rand.Read(s.id[:]); err != nil {
		return nil, err
	}
	var err error
	s.selection, err = newSelection(ctx, tenant, want.GetTypes(), want.GetFilter(), q.catalog, caller, &inner)
	validateStart(s.start, s.of, q.env.Clock(), &inner)
	f.AddErr("subscription", inner.ErrShared(reasonInvalid))
	if invalid := f.ErrShared(reasonInvalid); invalid != nil {
		return nil, invalid
	}
	if err != nil {
		return nil, err
	}
	if s.name != "" {
		s.group = "queue." + tenant + "." + s.name
	}
	return s, nil
}

func newSubscriptionID(tenant, name string) (id subscriptionID) {
	sum := sha256.Sum256([]byte(strconv.Itoa(len(tenant)) + ":" + tenant + name))
	copy(id[:], sum[:])
	return id
}

// stop ends the stream for a reason, the first one that there is.
func (s *subscriber) stop(err error) {
	s.stopOnce.Do(func() {
		s.reason = err
		close(s.stopped)
	})
}

// unless is the reason for which the stream was stopped, else err.
func (s *subscriber) unless(err error) error {
	select {
	case <-s.stopped:
		return s.reason
	default:
		return err
	}
}

// begin takes the subscription over, finds where it is, and sends the first response.
func (s *subscriber) begin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	if s.name != "" {
		s.q.own(ctx, s)
	}
	if err := s.find(ctx); err != nil {
		if _, isFault := errors.AsType[*fault.Error](err); isFault {
			return err
		}
		s.logger().Warn("subscription not opened", zap.Error(err))
		return fault.New(fault.Unavailable, reasonKafka, "Kafka does not answer, subscribe again").After(time.Second)
	}
	s.logger().Info("subscription opened", zap.Bool("ordered", s.ordered), zap.Int("partitions", len(s.parts)))
	return s.out.SendMsg(encodeFirst(s.id.String()))
}

func (s *subscriber) find(ctx context.Context) (err error) {
	if s.parts, err = s.q.partitionsOf(ctx, s.selection.topics()); err != nil {
		return err
	}
	var mine []stream.Position
	if s.name != "" {
		if mine, err = s.stored(ctx); err != nil {
			return err
		}
	}
	starts, err := s.q.starts(ctx, s.of, s.parts, mine, s.start)
	if err != nil {
		return err
	}
	if s.keeper != nil {
		offsets := make([]int64, len(starts))
		for i, at := range starts {
			offsets[i] = at.Next
		}
		if err := s.keeper.claim(ctx, offsets, time.Now()); err != nil {
			return err
		}
	}
	s.w = window.New(starts, s.ordered)
	s.q.mu.Lock()
	s.q.open[s] = struct{}{}
	s.q.mu.Unlock()
	return nil
}

// stored reads the positions of the subscription, in all topics: those that this stream does not read keep theirs.
func (s *subscriber) stored(ctx context.Context) ([]stream.Position, error) {
	k := &keeper{store: s.q.client, group: s.group, me: metadata{stream: s.id, reach: -1}}
	for _, p := range s.parts {
		k.ask = append(k.ask, stream.Position{Topic: p.topic, Partition: p.partition})
	}
	for number, name := range topicNames {
		if slices.ContainsFunc(s.parts, func(p partition) bool { return p.place.topic == uint8(number) }) {
			continue
		}
		topic := s.q.client.Topic(name)
		n, err := s.q.client.Partitions(ctx, topic)
		if errors.Is(err, stream.ErrUnknownTopic) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for p := range n {
			k.others = append(k.others, stream.Position{Topic: topic, Partition: int32(p)})
		}
	}
	all, err := k.read(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		k.me.turn = max(k.me.turn, parseMetadata(p.Metadata).turn)
	}
	k.me.turn++
	k.others = slices.DeleteFunc(slices.Clone(all[len(s.parts):]), func(p stream.Position) bool { return p.Offset < 0 })
	s.keeper = k
	return all[:len(s.parts)], nil
}

// serve sends and takes acks until something ends the stream.
func (s *subscriber) serve(ctx context.Context, in <-chan received) error {
	work, end := context.WithCancel(ctx)
	defer end()
	s.q.tasks.Go(func() {
		if err := s.run(work); err != nil {
			s.stop(err)
		}
	})
	s.q.tasks.Go(func() { s.acks(work, in) })
	kept := make(chan struct{})
	s.q.tasks.Go(func() {
		defer close(kept)
		s.keep(work)
	})
	var err error
	select {
	case <-s.stopped:
		err = s.reason
	case <-s.q.stopping:
		err = rpc.ErrStopping()
	case <-rpc.KeyEnded(ctx):
		err = rpc.ErrKeyEnded()
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop(err)
	end()
	<-kept
	s.finish(ctx)
	return err
}

// keep stores the position until ctx ends.
func (s *subscriber) keep(ctx context.Context) {
	if s.keeper == nil {
		return
	}
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		offsets, _ := s.positions()
		err := s.keeper.tick(ctx, offsets, time.Now())
		switch {
		case errors.Is(err, errTakenOver):
			s.stop(err)
			return
		case err != nil && ctx.Err() == nil:
			s.q.metrics.commits.WithLabelValues("failed").Inc()
			s.logger().Warn("position not stored", zap.Error(err))
		case err == nil:
			s.q.metrics.commits.WithLabelValues("stored").Inc()
		}
	}
}

// positions are those of each partition, and how far it was sent.
func (s *subscriber) positions() (offsets, reach []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	offsets, reach = make([]int64, len(s.parts)), make([]int64, len(s.parts))
	for i := range s.parts {
		offsets[i], reach[i] = s.w.Position(i), s.w.Reach(i)
	}
	return offsets, reach
}

// finish stores the position once more; without it the next stream repeats a little.
func (s *subscriber) finish(ctx context.Context) {
	s.logger().Info("subscription ended", zap.String("why", why(s.reason)))
	if s.keeper == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	offsets, reach := s.positions()
	if err := s.keeper.finish(ctx, offsets, reach); err != nil {
		s.logger().Warn("position not stored at the end", zap.Error(err))
	}
}

// close forgets the stream.
func (s *subscriber) close() {
	s.stop(context.Canceled)
	s.q.source.leave(s.waiter)
	s.q.mu.Lock()
	delete(s.q.open, s)
	if s.q.owners[s.group] == s {
		delete(s.q.owners, s.group)
	}
	s.q.mu.Unlock()
	close(s.closed)
}

// acks takes requests until the consumer sends no more, which ends the stream.
func (s *subscriber) acks(ctx context.Context, in <-chan received) {
	for {
		select {
		case r := <-in:
			switch {
			case errors.Is(r.err, io.EOF):
				s.stop(nil)
				return
			case r.err != nil:
				s.stop(r.err)
				return
			}
			if err := s.request(ctx, r.request); err != nil {
				s.stop(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
