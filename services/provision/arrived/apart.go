package arrived

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
)

const (
	// apartBytes is what one fetch of a reader apart brings, compressed.
	apartBytes = 256 << 10
	// apartAgain is between two tries to read.
	apartAgain = time.Second
)

// readApart gives a handler a reader of its own, from its next offset on. It requires mu.
func (p *partition) readApart(name string, g *progress) {
	g.apart = true
	p.apart++
	p.readers.Go(func() {
		ctx := p.owner.taking
		for ctx.Err() == nil {
			ended, again, err := p.step(ctx, name, g)
			switch {
			case ended:
				return
			case err != nil && ctx.Err() == nil:
				p.log.Logger.Warn("events for a handler not read, trying again", zap.String("hook", name), zap.String("topic", p.topic),
					zap.Int32("partition", p.number), zap.Error(err))
				pause.For(ctx, apartAgain)
			case again != nil: // what was read is let go meanwhile, and read again
				select {
				case <-again:
				case <-ctx.Done():
				}
			}
		}
	})
}

// step reads a batch for a handler, and hands out what is the handler's; ended: it has caught up, or is gone. Where the handler has
// no room, again is closed once it has.
func (p *partition) step(ctx context.Context, name string, g *progress) (ended bool, again <-chan struct{}, _ error) {
	if !p.log.Has(name) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.apart--
		delete(p.handlers, name)
		return true, nil, nil
	}
	b, err := p.log.Fetch(ctx, p.topic, p.number, g.next, apartBytes)
	if gone, ok := errors.AsType[*stream.OutOfRangeError](err); ok && gone.Start > g.next {
		p.report(stream.IncidentOutOfRange, g.next, err)
		b, err = stream.Batch{Next: gone.Start}, nil
	}
	if err != nil {
		return false, nil, err
	}
	for i := range b.Records {
		if again := p.handApart(name, g, &b.Records[i]); again != nil {
			return false, again, nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	g.next = max(g.next, b.Next)
	if g.next < p.next {
		return false, nil, nil
	}
	g.apart = false
	p.apart--
	return true, nil, nil
}

// handApart hands out a record, where it is the handler's; again is closed once it has room.
func (p *partition) handApart(name string, g *progress, r *stream.Record) (again <-chan struct{}) {
	h, wanted := p.log.handler(r, name)
	var e *event.Event
	if wanted {
		e = p.decode(r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e != nil {
		if again := p.hand(g, h, r, e); again != nil {
			return again
		}
	}
	g.next = r.Offset + 1
	return nil
}
