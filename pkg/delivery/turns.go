package delivery

import "slices"

// list gives an endpoint its turn where an item of it may be taken, and else notes when to look at it again.
func (q *queue) list(e *endpoint, now int64) {
	if e.listed || e.asking || e.ready.n == 0 {
		return
	}
	at := e.sendAt()
	if e.look > now && (at > now || !e.room()) {
		if at <= now { // a result makes room
			at = forever
		}
		q.sleep(e, min(at, e.look))
		return
	}
	e.listed = true
	e.tenant.endpoints.push(e)
	if !e.tenant.listed {
		e.tenant.listed = true
		q.turns.push(e.tenant)
	}
}

// sleep wakes an endpoint at a time.
func (q *queue) sleep(e *endpoint, at int64) {
	e.wakeAt = at
	switch {
	case at == forever && e.heapAt >= 0:
		q.sleeping.remove(e)
	case at == forever:
	case e.heapAt >= 0:
		q.sleeping.fix(e)
	default:
		q.sleeping.push(e)
	}
}

// wake moves items that are due to their turn, and endpoints whose time came.
func (q *queue) wake(now int64) {
	for len(q.due) > 0 && q.due[0].due <= now {
		q.schedule(q.due.pop(), now)
	}
	for len(q.sleeping) > 0 && q.sleeping[0].wakeAt <= now {
		e := q.sleeping[0]
		q.sleeping.remove(e)
		q.list(e, now)
	}
}

// nextDue is the next time at which wake has work to do.
func (q *queue) nextDue() (next int64, ok bool) {
	next = forever
	if len(q.due) > 0 {
		next = q.due[0].due
	}
	if len(q.sleeping) > 0 {
		next = min(next, q.sleeping[0].wakeAt)
	}
	return next, next < forever
}

// next gives a slot to the delivery whose turn it is: tenants take turns, then the endpoints of the tenant, then the
// deliveries of the endpoint. Where bodies is false, items without a body keep their turn until resumePassed. It returns
// nil where no item can be sent.
func (q *queue) next(bodies bool, now int64) *item {
	for q.turns.n > 0 {
		t := q.turns.pop()
		e := t.endpoints.pop()
		e.listed = false
		var it *item
		if e.tenant == t && e.ready.n > 0 { // else it moved to its tenant, or its items went
			it = q.take(e, bodies, now)
		}
		q.list(e, now)
		if e.granted && it == nil && e.tenant == t {
			q.refuse(e)
		}
		if t.endpoints.n > 0 {
			q.turns.push(t)
		} else {
			t.listed = false
		}
		if it != nil {
			return it
		}
	}
	return nil
}

// take takes the next item of an endpoint, nil where there is none.
func (q *queue) take(e *endpoint, bodies bool, now int64) *item {
	i := e.pick(now, q.drift)
	switch {
	case i < 0:
		return nil
	case !bodies && e.ready.at(i).delivery == nil:
		e.listed = true
		q.passed = append(q.passed, e)
		return nil
	case !e.granted && !q.claim(e):
		e.asking = true
		return nil
	}
	e.granted = false
	it := e.ready.remove(i)
	it.state = taken
	e.taken++
	q.taken++
	if e.probing() && e.probe == nil && deadlineOf(it, q.drift) > now {
		e.probe = it
	}
	return it
}

// grant gives its turn to an endpoint that has a slot of the process now, where it has a use for it.
func (q *queue) grant(e *endpoint, now int64) {
	e.asking, e.granted = false, true
	if q.list(e, now); !e.listed {
		q.refuse(e)
	}
}

// refuse returns a slot of the process that no item used.
func (q *queue) refuse(e *endpoint) {
	e.granted = false
	q.unclaim(e)
}

// resumePassed returns their turn to the endpoints that were passed over.
func (q *queue) resumePassed(now int64) {
	for _, e := range q.passed {
		e.listed = false
		q.list(e, now)
	}
	q.passed = q.passed[:0]
}

// sleepers holds the endpoints that wait for a time, the earliest on top.
type sleepers []*endpoint

func (h *sleepers) push(e *endpoint) {
	e.heapAt = len(*h)
	*h = append(*h, e)
	h.up(e.heapAt)
}

func (h *sleepers) fix(e *endpoint) { h.down(h.up(e.heapAt)) }

func (h *sleepers) remove(e *endpoint) {
	i, last := e.heapAt, len(*h)-1
	h.swap(i, last)
	*h = slices.Delete(*h, last, last+1)
	e.heapAt = -1
	if i < last {
		h.down(h.up(i))
	}
}

func (h sleepers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapAt, h[j].heapAt = i, j
}

func (h sleepers) up(i int) int {
	for i > 0 && h[i].wakeAt < h[(i-1)/2].wakeAt {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (h sleepers) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h[c].wakeAt < h[least].wakeAt {
				least = c
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}
