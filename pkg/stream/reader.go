package stream

import (
	"context"
	"sync"
)

// Fetched is one batch a Reader brought, or why it stopped.
type Fetched struct {
	Batch
	// Err is what Fetch returns; after it the reader brings nothing more.
	Err error
}

// Reader reads a claim's partition from an explicit offset, ahead of its worker:
// while the worker is busy with a batch, the next is already on its way. What
// waits is bounded: 64 KiB, or one answer of any size. Readers of a group share
// their requests.
type Reader struct {
	cl     *Claim
	out    chan Fetched
	cancel context.CancelFunc
	end    sync.WaitGroup
}

// Reader starts reading from an offset. It ends with the claim, with ctx, or by
// Close; whoever wants another position closes it and starts another.
func (cl *Claim) Reader(ctx context.Context, from int64, o FetchOptions) *Reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{cl: cl, out: make(chan Fetched), cancel: cancel}
	r.end.Add(1)
	go func() {
		defer r.end.Done()
		defer close(r.out)
		s := &source{cl: cl, o: o.withDefaults(cl.g.c.cfg)}
		defer s.close()
		for {
			b, err := cl.fetchBy(ctx, from, func(ctx context.Context) (Batch, error) { return s.next(ctx, from) })
			if err == nil && len(b.Records) == 0 && b.Next == from {
				// Nothing new: tell a worker that waits, but don't keep old news for one that is busy.
				select {
				case r.out <- Fetched{Batch: b}:
				default:
				}
				continue
			}
			select {
			case r.out <- Fetched{Batch: b, Err: err}:
			case <-ctx.Done():
				return
			case <-cl.drain.Done():
				if err == nil {
					return
				}
				// The reason for the end still goes to a worker that asks.
				select {
				case r.out <- Fetched{Batch: b, Err: err}:
				case <-ctx.Done():
				}
				return
			}
			if err != nil {
				return
			}
			from = b.Next
		}
	}()
	return r
}

// C brings the batches in order, for a select beside timers and commands; put
// the select into Claim.Waiting, since the watchdog can't see who listens. It is
// closed after the reader's end. An empty batch comes at the log's end at least
// once per MaxWait to a worker that listens.
func (r *Reader) C() <-chan Fetched { return r.out }

// Next waits for the next batch: one with records, or an empty one that tells
// where the log ends. A ctx that ends loses nothing: the batch comes with the next call.
func (r *Reader) Next(ctx context.Context) (Batch, error) {
	defer r.cl.waiting()()
	select {
	case f, ok := <-r.out:
		if !ok {
			return Batch{}, ErrRevoked
		}
		return f.Batch, f.Err
	case <-ctx.Done():
		return Batch{}, ctx.Err()
	}
}

// Poll returns the next batch if it is here already.
func (r *Reader) Poll() (Batch, bool, error) {
	select {
	case f, ok := <-r.out:
		if !ok {
			return Batch{}, false, ErrRevoked
		}
		return f.Batch, true, f.Err
	default:
		return Batch{}, false, nil
	}
}

// Close ends the reader and waits for its goroutine. A fetched batch that was not taken is dropped.
func (r *Reader) Close() {
	r.cancel()
	r.end.Wait()
}
