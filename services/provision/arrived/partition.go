package arrived

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// mostApart is how many handlers of a partition are read apart; with more, the partition waits for room.
const mostApart = 32

// partition is one partition of a log, for as long as this process holds it.
type partition struct {
	log    *Log
	topic  string
	number int32
	// ordered: events of one subject are asked about one after the other.
	ordered bool
	owner   *ownership
	// report is called for a record that can't be read, and for offsets that the log no longer holds.
	report  func(code string, offset int64, err error)
	readers sync.WaitGroup

	mu sync.Mutex
	// next: all events below it were handed out, or are to be handed out by a reader apart.
	next     int64
	handlers map[string]*progress
	apart    int
	passed   []passing
}

// progress is that of one handler.
type progress struct {
	// apart: a reader of its own hands out its events, from next on. Otherwise the partition's does, from next on.
	apart   bool
	next    int64
	pending []pending
}

// pending is an event that was handed out; they are in the order of offsets.
type pending struct {
	offset int64
	done   bool
}

// passing is when the log was read up to an offset.
type passing struct {
	offset int64
	at     time.Time
}

const (
	passingEvery = time.Second
	mostPassings = 1000
)

// pass notes that all below an offset was handed out. It requires mu.
func (p *partition) pass(offset int64) {
	if offset <= p.next && len(p.passed) > 0 {
		return
	}
	p.next = max(p.next, offset)
	now := p.log.Clock()
	if n := len(p.passed); n == 0 || now.Sub(p.passed[n-1].at) >= passingEvery {
		p.passed = append(p.passed, passing{p.next, now})
	} else {
		p.passed[n-1].offset = p.next
	}
	if len(p.passed) > mostPassings {
		p.passed = slices.Delete(p.passed, 0, mostPassings/10)
	}
}

// since is when the log was read beyond an offset, within a second; now where it was not. It requires mu.
func (p *partition) since(offset int64) time.Time {
	i, _ := slices.BinarySearchFunc(p.passed, offset, func(at passing, offset int64) int {
		if at.offset <= offset {
			return -1
		}
		return 1
	})
	if i < len(p.passed) {
		return p.passed[i].at
	}
	return p.log.Clock()
}

// take hands out the events of a batch.
func (p *partition) take(ctx context.Context, b *stream.Batch) {
	for i := range b.Records {
		r := &b.Records[i]
		handlers := p.log.handlers(r)
		if len(handlers) == 0 {
			continue
		}
		e := p.decode(r)
		if e == nil {
			continue
		}
		for _, h := range handlers {
			for {
				again := p.route(h, r, e)
				if again == nil {
					break
				}
				select {
				case <-again:
				case <-ctx.Done():
					return // next stays: what follows was not handed out
				}
			}
		}
		p.mu.Lock()
		p.pass(r.Offset + 1)
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.pass(b.Next)
	p.mu.Unlock()
}

// decode reads an event; nil where it can't be read.
func (p *partition) decode(r *stream.Record) *event.Event {
	e, err := event.Decode(r.Value)
	if err != nil {
		// Others reject it, with its bytes.
		p.report(codeUndecodable, r.Offset, err)
		return nil
	}
	if trace, ok := r.Header(event.HeaderTrace); ok && event.ValidTrace(string(trace)) {
		e.Trace = string(trace)
	}
	return e
}

// route hands out an event to a handler, unless a reader apart does. Where the handler has no room, it is read apart from here on;
// where that is not possible, what it returns is closed once it is worth while to try again.
func (p *partition) route(h Handler, r *stream.Record, e *event.Event) (again <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.handlers[h.Name]
	if g == nil {
		g = &progress{}
		p.handlers[h.Name] = g
	}
	if g.apart || r.Offset < g.next {
		return nil
	}
	again = p.hand(g, h, r, e)
	if again == nil {
		g.next = r.Offset + 1
		return nil
	}
	if p.apart >= mostApart {
		return again
	}
	g.next = r.Offset
	p.readApart(h.Name, g)
	return nil
}

// hand puts an event into a handler's line; otherwise it returns what is closed once there may be room. It requires mu.
func (p *partition) hand(g *progress, h Handler, r *stream.Record, e *event.Event) (again <-chan struct{}) {
	since := p.since(r.Offset)
	q := &question{
		handler: h.Name, size: r.Size(), owner: p.owner,
		ask: func(ctx context.Context) bool { return p.log.Ask(ctx, h.Name, e, since) },
	}
	if p.ordered {
		q.subject = e.Subject
	}
	offset := r.Offset
	q.done = func() { p.settled(h.Name, offset) }
	g.pending = append(g.pending, pending{offset: offset})
	taken, again := p.log.lines.offer(h, q)
	if !taken {
		g.pending = g.pending[:len(g.pending)-1]
		return again
	}
	return nil
}

// settled notes that a handler is done with an event.
func (p *partition) settled(handler string, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.handlers[handler]
	if g == nil {
		return
	}
	i, found := slices.BinarySearchFunc(g.pending, offset, func(at pending, offset int64) int { return int(max(-1, min(1, at.offset-offset))) })
	if !found {
		return
	}
	g.pending[i].done = true
	for len(g.pending) > 0 && g.pending[0].done {
		g.pending = g.pending[1:]
	}
}

// oldest is the first offset that a handler is not done with; false where it is done with all that was handed out.
func (g *progress) oldest() (int64, bool) {
	if len(g.pending) > 0 {
		return g.pending[0].offset, true
	}
	return g.next, g.apart
}

// position is what to commit.
func (p *partition) position() (offset int64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []remainder
	for name, g := range p.handlers {
		if oldest, some := g.oldest(); some {
			all = append(all, remainder{name, oldest})
		} else if g.next <= p.next {
			delete(p.handlers, name) // nothing is known of it that a new one would not have
		}
	}
	return encode(p.next, all)
}

// behind are how many handlers are read apart, and since when the first event waits that a handler is not done with.
func (p *partition) behind() (apart int, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lowest := int64(-1)
	for _, g := range p.handlers {
		if oldest, some := g.oldest(); some && oldest < p.next && (lowest < 0 || oldest < lowest) {
			lowest = oldest
		}
	}
	if lowest >= 0 {
		since = p.since(lowest)
	}
	return p.apart, since
}
