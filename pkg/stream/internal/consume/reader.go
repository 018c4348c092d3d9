package consume

import (
	"context"
	"errors"
	"sync"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// Fetched is one batch a Reader brought, or why it stopped.
type Fetched struct {
	codec.Batch
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
	held   int // what the batch in the worker's hands takes of the process's memory
}

// Reader starts reading from an offset. It ends with the claim, with ctx, or by
// Close; for another position it is closed and another one is started.
func (cl *Claim) Reader(ctx context.Context, from int64, o FetchOptions) *Reader {
	ctx, cancel := context.WithCancel(ctx)
	r := &Reader{cl: cl, out: make(chan Fetched), cancel: cancel}
	c := cl.g.c
	s := &source{cl: cl, o: o.withDefaults(c.CallTimeout),
		u: c.unpacker(cl.Topic, cl.Partition, from, pieceBytes, c.unpacked)}
	admit := s.u.Admit
	s.u.Admit = func(ctx context.Context) error {
		// The worker comes back for more first, and with it what it holds.
		if err := r.offer(ctx, s.u, Fetched{Batch: codec.Batch{Start: s.u.Start, End: s.u.End,
			Next: s.u.Next}}); err != nil {
			return err
		}
		return admit(ctx)
	}
	r.end.Add(1)
	go func() {
		defer r.end.Done()
		defer close(r.out)
		defer func() {
			s.close()
			s.u.Release(s.u.Finished + r.held)
		}()
		for r.bring(ctx, s) {
		}
	}()
	return r
}

// bring hands on one batch; false once the reader has ended.
func (r *Reader) bring(ctx context.Context, s *source) bool {
	cl := r.cl
	from := s.u.Next
	b, err := cl.fetchBy(ctx, from, s.next)
	var damaged *codec.DamagedError
	if s.o.PassDamaged && errors.As(err, &damaged) {
		s.u.Next = damaged.Next
		b, err = codec.Batch{Start: s.u.Start, End: s.u.End, Next: damaged.Next, Damaged: damaged, High: s.u.High}, nil
	}
	if err == nil && b.Next == from {
		// Nothing new: a worker that waits gets an empty batch, one that is busy does not find it later.
		select {
		case r.out <- Fetched{Batch: b}:
			r.handed(s.u)
			if from >= b.End {
				cl.Progress() // the worker came back, and nothing is left
			}
		default:
		}
		return true
	}
	select {
	case r.out <- Fetched{Batch: b, Err: err}:
		r.handed(s.u)
		return err == nil
	case <-ctx.Done():
	case <-cl.drain.Done():
		if err != nil { // the reason for the end still goes to a worker that asks
			_ = r.offer(ctx, s.u, Fetched{Batch: b, Err: err})
		}
	}
	return false
}

// offer waits until the worker takes f.
func (r *Reader) offer(ctx context.Context, u *codec.Unpacker, f Fetched) error {
	select {
	case r.out <- f:
		r.handed(u)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handed gives back what the worker held before it took the last batch.
func (r *Reader) handed(u *codec.Unpacker) {
	u.Release(r.held)
	r.held, u.Finished = u.Finished, 0
}

// C brings the batches in order, for a select beside timers and commands; put
// the select into Claim.Waiting, since the watchdog can't see a listener. It is
// closed after the reader's end. An empty batch comes at the log's end at least
// once per MaxWait to a worker that listens.
func (r *Reader) C() <-chan Fetched { return r.out }

// Next waits for the next batch: one with records, or an empty one with
// the log's end. A ctx that ends loses nothing: the batch comes with the next call.
func (r *Reader) Next(ctx context.Context) (codec.Batch, error) {
	defer r.cl.waiting()()
	select {
	case f, ok := <-r.out:
		if !ok {
			return codec.Batch{}, ErrRevoked
		}
		return f.Batch, f.Err
	case <-ctx.Done():
		return codec.Batch{}, ctx.Err()
	}
}

// Poll returns the next batch if it is here already.
func (r *Reader) Poll() (codec.Batch, bool, error) {
	select {
	case f, ok := <-r.out:
		if !ok {
			return codec.Batch{}, false, ErrRevoked
		}
		return f.Batch, true, f.Err
	default:
		return codec.Batch{}, false, nil
	}
}

// Close ends the reader and waits for its goroutine. A fetched batch that was not taken is dropped.
func (r *Reader) Close() {
	r.cancel()
	r.end.Wait()
}
