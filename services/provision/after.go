package provision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/receiver"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/arrived"
	"github.com/tollgate/tollgate/services/provision/chain"
)

// afterwards asks handlers about events that arrived. What they answer is logged, and changes nothing.
type afterwards struct {
	newest  func() *book
	chain   *chain.Chain
	about   func(question) chain.Ask
	log     *executionLog
	logger  *zap.Logger
	metrics *metrics
	failing *failing
	clock   func() time.Time
}

// pauses are between the tries of a question that a handler is not well enough to answer; it is asked once more than there are.
var pauses = []time.Duration{time.Second, 5 * time.Second}

const (
	// mostBehind is how old a question may be that is still asked: an older one ends unasked, so that a handler which is slower
	// than the log is not asked about ever older events.
	mostBehind = 10 * time.Minute
	// oursAgain is between two tries where this machine can't ask.
	oursAgain = time.Second
)

// handler finds one of a type; nil where it is asked no more.
func (b *book) handler(tenant, eventType, name string) *chain.Handler {
	for _, h := range b.chains[chainKey{tenant, eventType}] {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// ask is arrived.Log's: a question is repeated as often as there are pauses, while the handler is not well. Each time it is by the
// newest configuration.
func (w *afterwards) ask(ctx context.Context, name string, e *event.Event, since time.Time) bool {
	a := &action{
		event: e, objectID: e.Subject[strings.LastIndexByte(e.Subject, '/')+1:], stage: provisionv1.Execution_STAGE_AFTER,
		key: hashOf("arrived", e.Tenant, e.Source, e.ID),
	}
	for try := 0; ; {
		b := w.newest()
		h := b.handler(e.Tenant, e.Type, name)
		if h == nil {
			return true
		}
		r, err := w.once(ctx, b, a, h, since, try)
		var ours chain.Ours
		switch {
		case errors.As(err, &ours):
			w.logger.Warn("handler can't be asked from this machine, trying again", zap.String("hook", name), zap.Error(err))
			if !pause.For(ctx, oursAgain) {
				return false
			}
			continue
		case err != nil:
			return false
		}
		last := !r.Unwell || try == len(pauses)
		if (last || r.Exchange.Sent != nil) && !w.write(ctx, a, b, &r) {
			return false
		}
		if last {
			w.metrics.handled(&r)
			w.failing.observe(e.Tenant, e.Type, &r)
			return true
		}
		if !pause.For(ctx, pauses[try]) {
			return false
		}
		try++
	}
}

// once asks, unless it is too late for that.
func (w *afterwards) once(ctx context.Context, b *book, a *action, h *chain.Handler, since time.Time, try int) (chain.Result, error) {
	if late := w.clock().Sub(since); late > mostBehind {
		return chain.Result{
			Handler: h, Outcome: chain.Busy, Began: w.clock(),
			Text: fmt.Sprintf("it is %s behind, at most %s: it answers more slowly than events arrive", late.Round(time.Second), mostBehind),
		}, nil
	}
	view, err := b.view(a.event)
	if err != nil {
		// Accepted by a declaration that had other kinds of fields.
		text := "the data is not as its type is declared now: " + err.Error()
		return chain.Result{Handler: h, Outcome: chain.Fault, Began: w.clock(), Text: text}, nil //nolint:nilerr // it is what came of the question
	}
	a.event = view
	return w.chain.One(ctx, w.about(question{book: b, event: view, stage: receiver.StageAfter, try: try}), h, view.Fields())
}

// write puts an execution into the log; false where ctx ended before. What Kafka refuses for good is counted.
func (w *afterwards) write(ctx context.Context, a *action, b *book, r *chain.Result) bool {
	record, err := w.log.record(ctx, a, b, r)
	if err == nil {
		err = w.log.produce(ctx, record)
	}
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.log.lost(1, err)
	}
	return true
}

// arrivals are the events that handlers are asked about afterwards.
func (w *afterwards) arrivals(client *stream.Client) *arrived.Log {
	return &arrived.Log{
		Of: func(tenant, eventType string) []arrived.Handler {
			return w.newest().arrived[chainKey{tenant, eventType}]
		},
		Has: func(name string) bool {
			h := w.newest().handlers[name]
			return h != nil && h.asked()
		},
		Names: func() []string { return w.newest().names() },
		Ask:   w.ask, Fetch: client.FetchFrom,
		End: func(ctx context.Context, topic string, partition int32) (int64, error) {
			_, end, err := client.Offsets(ctx, topic, partition)
			return end, err
		},
		Own: source, Ordered: client.Topic(stream.EventsOrdered), Clock: w.clock, Logger: w.logger,
	}
}
