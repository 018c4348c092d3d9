package delivery

// supersede notes an item that replaces an older one of the same text. The older one is past its deadline then: it is
// settled as soon as it is the head of its ordering key, also where its endpoint is held.
func (q *queue) supersede(it *item, now int64) {
	if it.ref.Collapse == 0 {
		return
	}
	e := it.endpoint
	if e.newest == nil {
		e.newest = map[uint64]*item{}
	}
	older := e.newest[it.ref.Collapse]
	e.newest[it.ref.Collapse] = it
	if older == nil {
		return
	}
	older.ref.Deadline = 1
	switch older.state {
	case untilDue:
		q.replaced = append(q.replaced, older)
	case forSlot:
		e.look = now
		q.list(e, now)
	}
}

// settleReplaced makes the items due that a newer one replaced while they waited for their time.
func (q *queue) settleReplaced(now int64) {
	if len(q.replaced) == 0 {
		return
	}
	replaced := make(map[*item]bool, len(q.replaced))
	for _, it := range q.replaced {
		replaced[it] = true
	}
	q.replaced = q.replaced[:0]
	q.makeDue(now, func(it *item) bool { return replaced[it] })
}

// unsupersede forgets an item that is settled.
func (q *queue) unsupersede(it *item) {
	if e := it.endpoint; it.ref.Collapse != 0 && e.newest[it.ref.Collapse] == it {
		delete(e.newest, it.ref.Collapse)
	}
}
