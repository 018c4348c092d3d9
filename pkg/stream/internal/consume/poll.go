package consume

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// A group's readers share their requests: one long request to each broker for
// all partitions that it leads, answered when any has something. A partition
// whose reader has enough is left out, and does not hold others back.
const (
	// readAhead is how many bytes of records wait for a reader before its
	// partition is left out; what one answer brings is taken whole.
	readAhead = 64 << 10
	// pollBytes bounds what one answer brings of all partitions.
	pollBytes = 4 << 20
	// endAfter: a request that has no answer after this time waits at the ends of its
	// partitions, so that another request may ask for them too and nothing comes twice.
	endAfter = 2 * time.Millisecond
)

// poller asks one broker. Its main request goes again as soon as it was
// answered, for every partition that has room. One that gets room meanwhile is
// asked for in an extra request, and again in the next main request: the
// first answer counts.
type poller struct {
	c      *Consumer
	broker int32
	ctx    context.Context
	end    context.CancelFunc

	mu        sync.Mutex
	subs      []*subscription // answers are filled in this order; one that got records goes to the end
	main      bool            // the main request is on its way, or about to be
	gathering bool            // an extra request is about to be made
}

// subscription is one reader's partition. The poller's mutex guards it.
type subscription struct {
	p         *poller
	topic     string
	partition int32
	o         FetchOptions

	from     int64        // of the next request
	held     []*fetchPart // not taken yet
	bytes    int          // of held
	inHand   int          // bytes that the reader took last and has not handed on
	stalled  bool         // the last answer does not lead on: its reader finds out why
	err      error
	idle     bool      // after an error, until its reader asks again
	notified time.Time // when the reader got its last answer
	flights  int       // requests on their way that ask for it
	sent     time.Time // when the last of them was
	closed   bool
	ready    chan struct{}
}

// subscribe begins to read a partition that a broker leads.
func (g *group) subscribe(ctx context.Context, broker int32, topic string, partition int32, from int64,
	o FetchOptions) *subscription {
	s := &subscription{topic: topic, partition: partition, o: o, from: from, notified: time.Now(),
		ready: make(chan struct{}, 1)}
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.pollers[broker]; p != nil && p.enter(s) {
		return s
	}
	p := &poller{c: g.c, broker: broker}
	p.ctx, p.end = context.WithCancel(context.WithoutCancel(ctx))
	if g.pollers == nil {
		g.pollers = map[int32]*poller{}
	}
	g.pollers[broker] = p
	p.enter(s)
	return s
}

// enter is false once the poller's last reader has left.
func (p *poller) enter(s *subscription) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false
	}
	s.p = p
	p.subs = append(p.subs, s)
	return true
}

// close ends the subscription, and with the last one the poller's requests.
func (s *subscription) close() {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	s.closed = true
	p.subs = slices.DeleteFunc(p.subs, func(other *subscription) bool { return other == s })
	if len(p.subs) == 0 {
		p.end()
	}
}

// next waits for something new: answers, an error, or that there was nothing
// for MaxWait.
func (s *subscription) next(ctx context.Context) ([]*fetchPart, error) {
	p := s.p
	p.mu.Lock()
	defer p.mu.Unlock()
	s.inHand = 0
	for {
		switch {
		case len(s.held) > 0:
			parts := s.held
			s.held, s.inHand, s.bytes = nil, s.bytes, 0
			p.start()
			return parts, nil
		case s.err != nil:
			err := s.err
			s.err, s.idle = nil, true
			return nil, err
		}
		s.idle = false
		p.start()
		p.mu.Unlock()
		select {
		case <-s.ready:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

func (s *subscription) wants() bool {
	return !s.idle && !s.stalled && s.err == nil && s.inHand+s.bytes < readAhead
}

// atEnd reports that a request on its way waits at the log's end.
func (s *subscription) atEnd(now time.Time) bool { return s.flights > 0 && now.Sub(s.sent) >= endAfter }

// start starts a request for what is wanted and not asked for.
func (p *poller) start() {
	if !slices.ContainsFunc(p.subs, func(s *subscription) bool { return s.flights == 0 && s.wants() }) {
		return
	}
	switch {
	case !p.main:
		p.main = true
		go p.run()
	case !p.gathering:
		p.gathering = true
		go p.extra()
	}
}

// run makes main requests for as long as a reader wants something.
func (p *poller) run() {
	for {
		runtime.Gosched() // readers and workers that were just notified may want more
		p.mu.Lock()
		now := time.Now()
		subs, parts := p.gather(func(s *subscription) bool { return s.flights == 0 || s.atEnd(now) }, now)
		p.main = len(subs) > 0
		p.mu.Unlock()
		if len(subs) == 0 {
			return
		}
		p.ask(subs, parts)
	}
}

// extra asks for what the main request does not.
func (p *poller) extra() {
	for {
		runtime.Gosched()
		p.mu.Lock()
		subs, parts := p.gather(func(s *subscription) bool { return s.flights == 0 }, time.Now())
		p.gathering = false
		p.mu.Unlock()
		if len(subs) == 0 {
			return
		}
		p.ask(subs, parts)
		p.mu.Lock()
		if p.gathering {
			p.mu.Unlock()
			return
		}
		p.gathering = true
		p.mu.Unlock()
	}
}

func (p *poller) gather(which func(*subscription) bool, now time.Time) ([]*subscription, []fetchPart) {
	subs := make([]*subscription, 0, len(p.subs))
	parts := make([]fetchPart, 0, len(p.subs))
	for _, s := range p.subs {
		if !s.wants() || !which(s) {
			continue
		}
		s.flights++
		s.sent = now
		subs = append(subs, s)
		parts = append(parts, fetchPart{topic: s.topic, partition: s.partition, from: s.from,
			maxBytes: int32(s.o.MaxBytes)})
	}
	return subs, parts
}

func (p *poller) ask(subs []*subscription, parts []fetchPart) {
	wait, bytes := subs[0].o.MaxWait, pollBytes
	for _, s := range subs {
		wait, bytes = min(wait, s.o.MaxWait), max(bytes, s.o.MaxBytes)
	}
	p.take(subs, parts, p.c.fetchParts(p.ctx, p.broker, parts, bytes, wait))
}

// take hands an answer on.
func (p *poller) take(subs []*subscription, parts []fetchPart, err error) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range subs {
		s.flights--
		if s.closed || s.err != nil || parts[i].from != s.from {
			continue // another request was faster
		}
		if err != nil {
			s.fail(err)
			continue
		}
		if s.answered(&parts[i], now) {
			p.subs = append(slices.DeleteFunc(p.subs, func(other *subscription) bool { return other == s }), s)
		}
	}
}

func (s *subscription) fail(err error) {
	s.err = err
	s.notify()
}

func (s *subscription) notify() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// answered takes an answer over; true when it brought something.
func (s *subscription) answered(part *fetchPart, now time.Time) bool {
	if part.err != nil {
		s.fail(part.err)
		return false
	}
	moved := len(part.All) > 0
	if !moved && len(s.held) == 0 && now.Sub(s.notified) < s.o.MaxWait*9/10 {
		return false // nothing, and the reader was notified not long ago
	}
	from := codec.Follow(part.All, s.from)
	s.stalled = moved && from == s.from
	s.from, s.notified = from, now
	if n := len(s.held); !moved && n > 0 { // only where the log ends now
		last := s.held[n-1]
		last.start, last.end, last.high = part.start, part.end, part.high
	} else {
		s.held = append(s.held, part)
		s.bytes += len(part.All)
	}
	s.notify()
	return moved
}

// source is where a reader gets its records: by the group's poller for the
// partition's leader, anew after each error, since leaders move.
type source struct {
	cl    *Claim
	o     FetchOptions
	u     *codec.Unpacker
	s     *subscription
	alone bool // the next request is for this partition alone
	doubt codec.Doubt
}

// next returns the next piece, or an empty batch when there was nothing for MaxWait.
func (r *source) next(ctx context.Context) (codec.Batch, error) {
	for {
		from := r.u.Next
		b, err := r.u.Take(ctx)
		if err == nil {
			if b.Next > from {
				return b, nil
			}
			if err := r.ask(ctx); err != nil {
				r.close()
				return codec.Batch{}, err
			}
			if r.u.Empty() {
				return codec.Batch{Start: r.u.Start, End: r.u.End, High: r.u.High, Next: from}, nil
			}
			continue
		}
		r.close()
		err = r.doubt.Confirm(err)
		r.alone = errors.Is(err, codec.ErrCut) || errors.Is(err, codec.ErrAgain)
		if !errors.Is(err, codec.ErrCut) {
			return codec.Batch{}, err
		}
	}
}

// ask adds an answer that goes on at u.Next; none when nothing came in time.
func (r *source) ask(ctx context.Context) error {
	cl, c := r.cl, r.cl.g.c
	if r.s == nil {
		broker, err := c.Leader(ctx, cl.Topic, cl.Partition)
		if err != nil || r.alone || r.u.Next < 0 {
			r.alone = false
			part, err := c.fetchOnce(ctx, cl.Topic, cl.Partition, r.u.Next, r.o)
			if err == nil {
				r.u.Add(part.Set, part.start, part.end, part.high)
			}
			return err
		}
		r.s = cl.g.subscribe(ctx, broker, cl.Topic, cl.Partition, r.u.Next, r.o)
	}
	parts, err := r.s.next(ctx)
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return c.outOfRange(ctx, cl.Topic, cl.Partition, r.u.Next)
	}
	for _, part := range parts {
		r.u.Add(part.Set, part.start, part.end, part.high)
	}
	return err
}

// close forgets what is not handed on.
func (r *source) close() {
	r.u.Drop()
	if r.s != nil {
		r.s.close()
		r.s = nil
	}
}
