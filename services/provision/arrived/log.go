package arrived

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// codeUndecodable is of a record that can't be read.
const codeUndecodable = reason.Undecodable

// commitEvery is between two commits of a partition, at least.
const commitEvery = 200 * time.Millisecond

// Log hands out the events of the partitions that this process holds.
type Log struct {
	// Of are the handlers of a type of a tenant, as they are now; Has reports whether there is one of a name.
	Of  func(tenant, eventType string) []Handler
	Has func(name string) bool
	// Names are all handlers, to find those by which a position was committed.
	Names func() []string
	// Ask returns true once a handler is done with an event, whatever it answered; false where ctx ended before. since is when
	// the event was read.
	Ask func(ctx context.Context, handler string, e *event.Event, since time.Time) bool
	// Fetch reads for handlers that are slower than the log.
	Fetch func(ctx context.Context, topic string, partition int32, offset int64, maxBytes int) (stream.Batch, error)
	// End is where a partition ends: a group that never was begins there.
	End func(ctx context.Context, topic string, partition int32) (int64, error)
	// Own is the source of events that nobody is asked about: they were decided before they were published.
	Own string
	// Ordered is the full name of the topic whose events have an order.
	Ordered string
	Clock   func() time.Time
	Logger  *zap.Logger

	lines lines

	mu         sync.Mutex
	partitions map[*partition]struct{}
}

// handlers are those of an event, by its headers.
func (l *Log) handlers(r *stream.Record) []Handler {
	tenant, _ := r.Header(event.HeaderTenant)
	eventType, _ := r.Header(event.HeaderType)
	all := l.Of(string(tenant), string(eventType))
	if len(all) == 0 {
		return nil
	}
	if source, _ := r.Header(event.HeaderSource); string(source) == l.Own {
		return nil
	}
	return all
}

// handler is one of those of an event.
func (l *Log) handler(r *stream.Record, name string) (Handler, bool) {
	for _, h := range l.handlers(r) {
		if h.Name == name {
			return h, true
		}
	}
	return Handler{}, false
}

// Work hands out the events of a partition until it is to be handed on.
func (l *Log) Work(ctx context.Context, claim *stream.Claim) error {
	p, err := l.open(ctx, claim)
	if err != nil {
		return err
	}
	defer p.close()
	return p.work(ctx, claim)
}

// held is a partition with the end of what it has begun.
type held struct {
	*partition
	endTaking, endAsking func()
	committed            int64
	text                 string
}

// open begins where the group stands; where it stands nowhere, at the log's end.
func (l *Log) open(ctx context.Context, claim *stream.Claim) (*held, error) {
	from, text := claim.Committed(), claim.Metadata()
	if from < 0 {
		var err error
		claim.Waiting(func() { from, err = l.End(ctx, claim.Topic, claim.Partition) })
		if err == nil {
			// Now: what comes before the first commit would be passed over by whoever begins after a crash.
			err = claim.CommitWith(ctx, from, formatPosition)
		}
		if err != nil {
			return nil, fmt.Errorf("begin at the end of the log: %w", err)
		}
		text = formatPosition
	}
	remaining, err := decode(from, text)
	if err != nil {
		return nil, err
	}
	h := &held{partition: l.partition(claim.Topic, claim.Partition, from), committed: from, text: text}
	h.report = claim.Report
	h.owner.asking, h.endAsking = context.WithCancel(ctx)
	h.owner.taking, h.endTaking = context.WithCancel(h.owner.asking)
	h.resume(remaining)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.partitions == nil {
		l.partitions = map[*partition]struct{}{}
	}
	l.partitions[h.partition] = struct{}{}
	return h, nil
}

func (l *Log) partition(topic string, number int32, from int64) *partition {
	p := &partition{
		log: l, topic: topic, number: number, ordered: topic == l.Ordered, owner: &ownership{}, next: from, handlers: map[string]*progress{},
	}
	p.pass(from)
	return p
}

// resume reads apart for the handlers that were not done with all. One that is gone is forgotten.
func (p *partition) resume(remaining map[string]int64) {
	if len(remaining) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range p.log.Names() {
		if offset, known := remaining[hashOf(name)]; known {
			g := &progress{next: offset}
			p.handlers[name] = g
			p.readApart(name, g)
		}
	}
}

// close cuts off what is open and waits for its end.
func (h *held) close() {
	h.endTaking()
	h.endAsking()
	h.readers.Wait()
	h.log.lines.stop(h.owner)
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	delete(h.log.partitions, h.partition)
}

// work reads until the claim drains; then it waits for the questions that are open, as long as the group lets it.
func (h *held) work(ctx context.Context, claim *stream.Claim) error {
	reader := claim.Reader(ctx, h.next, stream.FetchOptions{})
	defer reader.Close()
	tick := time.NewTicker(commitEvery)
	defer tick.Stop()
	for {
		var f stream.Fetched
		open, due := true, false
		claim.Waiting(func() {
			select {
			case f, open = <-reader.C():
			case <-tick.C:
				due = true
			case <-claim.Draining():
				open = false
			}
		})
		if !open || errors.Is(f.Err, stream.ErrRevoked) {
			return h.drain(ctx, claim)
		}
		if f.Err != nil {
			return errors.Join(f.Err, h.commit(ctx, claim))
		}
		if !due {
			// A handler may have no room, and none can be read apart: then the partition waits.
			claim.Waiting(func() { h.take(h.owner.taking, &f.Batch) })
			claim.Progress()
			continue
		}
		if err := h.commit(ctx, claim); err != nil {
			return err
		}
	}
}

// drain begins nothing more.
func (h *held) drain(ctx context.Context, claim *stream.Claim) error {
	h.endTaking()
	claim.Waiting(func() {
		h.readers.Wait()
		h.log.lines.stop(h.owner)
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // what was open is asked again by the next owner
	}
	return h.commit(ctx, claim)
}

func (h *held) commit(ctx context.Context, claim *stream.Claim) error {
	offset, text := h.position()
	if offset == h.committed && text == h.text {
		return nil
	}
	if err := claim.CommitWith(ctx, offset, text); err != nil {
		return err
	}
	h.committed, h.text = offset, text
	return nil
}

// Behind are how many handlers are read apart, and for how long the first event waits that a handler is not done with.
func (l *Log) Behind() (apart int, age time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Clock()
	for p := range l.partitions {
		n, since := p.behind()
		apart += n
		if !since.IsZero() {
			age = max(age, now.Sub(since))
		}
	}
	return apart, age
}
