package queue

import "slices"

// List gives an endpoint its turn where an item of it may be taken, and else notes when to look at it again.
func (q *Queue) List(e *Endpoint, now int64) {
	if e.Listed || e.asking || e.ready == 0 {
		return
	}
	at := e.SendAt()
	if e.Look > now && (at > now || !e.room()) {
		if at <= now { // a result makes room
			at = Forever
		}
		q.Sleep(e, min(at, e.Look))
		return
	}
	e.Listed = true
	e.tenant.endpoints.Push(e)
	if !e.tenant.listed {
		e.tenant.listed = true
		q.Turns.Push(e.tenant)
	}
}

// Sleep wakes an endpoint at a time.
func (q *Queue) Sleep(e *Endpoint, at int64) {
	e.wakeAt = at
	switch {
	case at == Forever && e.heapAt >= 0:
		q.sleeping.remove(e)
	case at == Forever:
	case e.heapAt >= 0:
		q.sleeping.fix(e)
	default:
		q.sleeping.push(e)
	}
}

// Wake moves items that are due to their turn, and endpoints whose time came.
func (q *Queue) Wake(now int64) {
	for len(q.due) > 0 && q.items.at(q.due[0]).Due() <= now {
		q.schedule(q.popDue(), now)
	}
	for len(q.sleeping) > 0 && q.sleeping[0].wakeAt <= now {
		e := q.sleeping[0]
		q.sleeping.remove(e)
		q.List(e, now)
	}
}

// NextDue is the next time at which wake has work to do.
func (q *Queue) NextDue() (next int64, ok bool) {
	next = Forever
	if len(q.due) > 0 {
		next = q.items.at(q.due[0]).Due()
	}
	if len(q.sleeping) > 0 {
		next = min(next, q.sleeping[0].wakeAt)
	}
	return next, next < Forever
}

// Next gives a slot to the delivery whose turn it is: tenants take turns, then the endpoints of the tenant, then the
// deliveries of the endpoint. Where bodies is false, items without a body keep their turn until resumePassed. It returns
// nil where no item can be sent.
func (q *Queue) Next(bodies bool, now int64) *Item {
	for q.Turns.N > 0 {
		t := q.Turns.Pop()
		e := t.endpoints.Pop()
		e.Listed = false
		var it *Item
		if e.tenant == t && e.ready > 0 { // else it moved to its tenant, or its items went
			it = q.take(e, bodies, now)
		}
		q.List(e, now)
		if e.granted && it == nil && e.tenant == t {
			q.refuse(e)
		}
		if t.endpoints.N > 0 {
			q.Turns.Push(t)
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
func (q *Queue) take(e *Endpoint, bodies bool, now int64) *Item {
	before, it := e.pick(q, now)
	switch {
	case it == nil:
		return nil
	case !bodies && it.is(isBodiless):
		e.Listed = true
		q.passed = append(q.passed, e)
		return nil
	case !e.granted && !q.Claim(e):
		e.asking = true
		return nil
	}
	e.granted = false
	e.remove(q, before)
	it.State = Taken
	e.Taken++
	q.Taken++
	if e.Probing() && e.Probe == nil && DeadlineOf(it, q.Drift) > now {
		e.Probe = it
	}
	return it
}

// Grant gives its turn to an endpoint that has a slot of the process now, where it has a use for it.
func (q *Queue) Grant(e *Endpoint, now int64) {
	e.asking, e.granted = false, true
	if q.List(e, now); !e.Listed {
		q.refuse(e)
	}
}

// refuse returns a slot of the process that no item used.
func (q *Queue) refuse(e *Endpoint) {
	e.granted = false
	q.Unclaim(e)
}

// ResumePassed returns their turn to the endpoints that were passed over.
func (q *Queue) ResumePassed(now int64) {
	for _, e := range q.passed {
		e.Listed = false
		q.List(e, now)
	}
	q.passed = q.passed[:0]
}

// sleepers holds the endpoints that wait for a time, the earliest on top.
type sleepers []*Endpoint

func (h *sleepers) push(e *Endpoint) {
	e.heapAt = len(*h)
	*h = append(*h, e)
	h.up(e.heapAt)
}

func (h *sleepers) fix(e *Endpoint) { h.down(h.up(e.heapAt)) }

func (h *sleepers) remove(e *Endpoint) {
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
