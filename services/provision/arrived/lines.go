package arrived

import (
	"context"
	"sync"
)

const (
	// lineRoom is how many questions a handler has in memory, lineBytes what their events take; a single event may take more.
	lineRoom  = 256
	lineBytes = 4 << 20
	// allBytes bounds what the questions of all handlers take.
	allBytes = 256 << 20
)

// Handler is one that is asked about events.
type Handler struct {
	// Name is that of its resource.
	Name string
	// Concurrency is how many questions are open to it at once, whoever asks.
	Concurrency int
}

// share is how many of a handler's questions may be open at once for events of the log: the other half is for those who wait for
// the answer. One whose concurrency is 1 has no half.
func (h Handler) share() int { return max(1, h.Concurrency/2) }

// question is one event for one handler.
type question struct {
	handler string
	// ask returns true once the handler is done with it; false where ctx ended before.
	ask func(ctx context.Context) bool
	// subject is whose events are asked about one after the other; empty where there is no order.
	subject string
	size    int
	owner   *ownership
	// done is called then.
	done func()
}

// ownership is that of the partition whose questions these are.
type ownership struct {
	// taking ends when no question is begun any more; asking, when those that are open are cut off.
	taking, asking context.Context //nolint:containedctx // of many questions, which outlive the calls that hand them in
	// open are the questions that are asked.
	open sync.WaitGroup
}

// lines are the questions in memory, by handler.
type lines struct {
	mu    sync.Mutex
	all   map[string]*line
	bytes int
	// freed is closed when memory becomes free; nil where nobody waits for it.
	freed chan struct{}
}

// line is the questions of one handler, of all partitions.
type line struct {
	share, running, held, bytes int
	// ready are to be asked, in this order; behind are those that wait for one of the same subject, which has a key here while
	// one of its questions is ready or open.
	ready  []*question
	behind map[string][]*question
	// room is closed when half of it is free; nil where nobody waits for it.
	room chan struct{}
}

// offer takes a question. Where there is no room, it returns what is closed once it is worth while to try again.
func (l *lines) offer(h Handler, q *question) (taken bool, again <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.all[h.Name]
	if n == nil {
		if l.all == nil {
			l.all = map[string]*line{}
		}
		n = &line{behind: map[string][]*question{}}
		l.all[h.Name] = n
	}
	n.share = h.share()
	switch {
	case n.held >= lineRoom || n.held > 0 && n.bytes+q.size > lineBytes:
		return false, wait(&n.room)
	case l.bytes > 0 && l.bytes+q.size > allBytes:
		l.forget(h.Name, n)
		return false, wait(&l.freed)
	}
	n.held, n.bytes, l.bytes = n.held+1, n.bytes+q.size, l.bytes+q.size
	waiting, busy := n.behind[q.subject]
	if busy && q.subject != "" {
		n.behind[q.subject] = append(waiting, q)
		return true, nil
	}
	n.behind[q.subject] = nil
	n.ready = append(n.ready, q)
	l.begin(n)
	l.forget(h.Name, n)
	return true, nil
}

func wait(c *chan struct{}) <-chan struct{} {
	if *c == nil {
		*c = make(chan struct{})
	}
	return *c
}

func signal(c *chan struct{}) {
	if *c != nil {
		close(*c)
		*c = nil
	}
}

// begin asks as many questions as may be open. Those of a partition that is handed on are dropped. It requires mu.
func (l *lines) begin(n *line) {
	for len(n.ready) > 0 && n.running < n.share {
		q := n.ready[0]
		n.ready[0] = nil
		n.ready = n.ready[1:]
		if q.owner.taking.Err() != nil {
			l.leave(n, q)
			continue
		}
		n.running++
		q.owner.open.Add(1)
		go func() {
			defer q.owner.open.Done()
			if q.ask(q.owner.asking) {
				q.done()
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			n.running--
			l.leave(n, q)
			l.begin(n)
			l.forget(q.handler, n)
		}()
	}
}

// leave takes a question out, and lets the next of its subject go. It requires mu.
func (l *lines) leave(n *line, q *question) {
	n.held, n.bytes, l.bytes = n.held-1, n.bytes-q.size, l.bytes-q.size
	if n.held <= lineRoom/2 && n.bytes <= lineBytes/2 {
		signal(&n.room)
	}
	if l.bytes <= allBytes/2 {
		signal(&l.freed)
	}
	if waiting := n.behind[q.subject]; len(waiting) > 0 {
		n.ready = append(n.ready, waiting[0])
		n.behind[q.subject] = waiting[1:]
	} else {
		delete(n.behind, q.subject)
	}
}

// forget drops a line that is empty. It requires mu.
func (l *lines) forget(name string, n *line) {
	if n.held == 0 && n.running == 0 && l.all[name] == n {
		signal(&n.room)
		delete(l.all, name)
	}
}

// stop waits for the open questions of an owner that takes no more.
func (l *lines) stop(o *ownership) {
	l.mu.Lock()   // whoever begins one has seen that it takes none, or has counted it
	l.mu.Unlock() //nolint:staticcheck // see above
	o.open.Wait()
}
