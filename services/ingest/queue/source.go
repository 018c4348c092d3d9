package queue

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
)

const (
	// fetchBytes is what one fetch brings, compressed; a larger batch comes whole.
	fetchBytes = 256 << 10
	// fetchWait is how long the broker holds a fetch at the log's end.
	fetchWait = 500 * time.Millisecond
	// catchingUp is how many fetches of streams that are behind are under way at once: each may bring some MiB.
	catchingUp = 8
	// failedFor is how long a fetch that failed for good is not tried again.
	failedFor = time.Second
)

// source reads the log for all streams. What one reads is there for the others until the cache has no room for it.
type source struct {
	fetch func(ctx context.Context, topic string, partition int32, offset int64, o stream.FetchOptions) (stream.Batch, error)
	ctx   context.Context //nolint:containedctx // of the process: fetches serve many streams, and end with it
	max   int64
	slots chan struct{}
	tasks sync.WaitGroup

	mu    sync.Mutex
	logs  map[place]*partitionLog // offset 0
	bytes int64
	used  list.List // batches, that used last in front
}

// partitionLog is what is known of one partition.
type partitionLog struct {
	topic     string
	partition int32
	batches   []*batch // by their first offset
	fetches   map[int64]*fetching
	end       int64
}

// fetching is a fetch that is under way, or has failed.
type fetching struct {
	waiting map[*waiter]struct{}
	err     error
	until   time.Time // of err
}

// waiter is a stream that waits for records of its tenant.
type waiter struct {
	tenant string
	wake   chan struct{}
}

func newWaiter(tenant string) *waiter { return &waiter{tenant: tenant, wake: make(chan struct{}, 1)} }

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func newSource(ctx context.Context, client *stream.Client, max int64) *source {
	return &source{fetch: client.Fetch, ctx: ctx, max: max, slots: make(chan struct{}, catchingUp), logs: map[place]*partitionLog{}}
}

// get is the batch that holds an offset, where it is here. Else it is fetched, and w signalled once something is there for
// its tenant, or the fetch has failed: the error is that of the fetch, which nothing but another offset mends. A batch of
// others' records alone signals nobody: streams look again by themselves from time to time, to follow the log.
func (s *source) get(topic string, at place, w *waiter) (*batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log(topic, at)
	if b := l.find(at.offset); b != nil {
		s.used.MoveToFront(b.used)
		return b, nil
	}
	f := l.fetches[at.offset]
	if f != nil && f.err != nil {
		if time.Now().Before(f.until) {
			return nil, f.err
		}
		f = nil
	}
	if f == nil {
		f = &fetching{waiting: map[*waiter]struct{}{}}
		l.fetches[at.offset] = f
		s.tasks.Go(func() { s.follow(l, at.offset, f) })
	}
	f.waiting[w] = struct{}{}
	return nil, nil //nolint:nilnil // it is not here yet
}

func (s *source) log(topic string, at place) *partitionLog {
	at.offset = 0
	l := s.logs[at]
	if l == nil {
		l = &partitionLog{topic: topic, partition: at.partition, fetches: map[int64]*fetching{}}
		s.logs[at] = l
	}
	return l
}

// leave ends the waiting of a stream.
func (s *source) leave(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		for _, f := range l.fetches {
			delete(f.waiting, w)
		}
	}
}

// follow fetches from an offset on for as long as a stream waits there.
func (s *source) follow(l *partitionLog, offset int64, f *fetching) {
	for {
		b, err := s.once(l, offset)
		s.mu.Lock()
		delete(l.fetches, offset)
		if err != nil {
			f.err, f.until = err, time.Now().Add(failedFor)
			l.fetches[offset] = f
			for w := range f.waiting {
				w.signal()
			}
			s.mu.Unlock()
			return
		}
		l.end = max(l.end, b.End)
		if b.Next > offset {
			got := newBatch(offset, b)
			s.keep(l, got)
			for w := range f.waiting {
				if len(got.tenants[w.tenant]) > 0 {
					w.signal()
					delete(f.waiting, w)
				}
			}
			if other := l.fetches[b.Next]; other != nil && other.err == nil { // it goes on from there
				for w := range f.waiting {
					other.waiting[w] = struct{}{}
				}
				clear(f.waiting)
			}
			offset = b.Next
		}
		if len(f.waiting) == 0 || s.ctx.Err() != nil {
			s.mu.Unlock()
			return
		}
		l.fetches[offset] = f
		s.mu.Unlock()
	}
}

// once is one fetch; those behind the log's end wait for each other.
func (s *source) once(l *partitionLog, offset int64) (stream.Batch, error) {
	s.mu.Lock()
	behind := offset < l.end
	s.mu.Unlock()
	if behind {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-s.ctx.Done():
			return stream.Batch{}, s.ctx.Err()
		}
	}
	b, err := s.fetch(s.ctx, l.topic, l.partition, offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: fetchWait})
	var gone *stream.OutOfRangeError
	if err != nil && !errors.As(err, &gone) {
		pause.For(s.ctx, failedFor) // such as a batch that can't be read: a person has to look
	}
	return b, err
}

// load reads one record again.
func (s *source) load(ctx context.Context, topic string, at place) (item, string, error) {
	s.mu.Lock()
	b := s.log(topic, at).find(at.offset)
	s.mu.Unlock()
	if b == nil {
		got, err := s.fetch(ctx, topic, at.partition, at.offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: fetchWait})
		if err != nil {
			return item{}, "", err
		}
		b = newBatch(at.offset, got)
		s.mu.Lock()
		if l := s.log(topic, at); l.find(at.offset) == nil {
			s.keep(l, b)
		}
		s.mu.Unlock()
	}
	for tenant := range b.tenants {
		if items := b.of(tenant, at.offset); len(items) > 0 && items[0].offset == at.offset {
			return items[0], tenant, nil
		}
	}
	return item{}, "", errors.New("the record is not in the log")
}

// keep adds a batch to the cache. It requires mu.
func (s *source) keep(l *partitionLog, b *batch) {
	if len(l.batches) > 0 && l.find(b.from) != nil {
		return // another stream came from elsewhere
	}
	b.log = l
	b.used = s.used.PushFront(b)
	at := sort.Search(len(l.batches), func(i int) bool { return l.batches[i].from > b.from })
	l.batches = slices.Insert(l.batches, at, b)
	s.bytes += b.size
	for s.bytes > s.max && s.used.Len() > 1 {
		s.drop(s.used.Back().Value.(*batch))
	}
}

func (s *source) drop(b *batch) {
	s.used.Remove(b.used)
	s.bytes -= b.size
	b.log.batches = slices.DeleteFunc(b.log.batches, func(other *batch) bool { return other == b })
}

// find is the batch that holds an offset.
func (l *partitionLog) find(offset int64) *batch {
	at := sort.Search(len(l.batches), func(i int) bool { return l.batches[i].from > offset })
	if at == 0 || l.batches[at-1].next <= offset {
		return nil
	}
	return l.batches[at-1]
}
