package queue

// supersede notes an item that replaces an older one of the same text. The older one is past its deadline then: it is
// settled as soon as it is the head of its ordering key, also where its endpoint is held.
func (q *Queue) supersede(it *Item, now int64) {
	if it.Ref.Collapse == 0 {
		return
	}
	e := it.Endpoint
	if e.Newest == nil {
		e.Newest = map[uint64]*Item{}
	}
	older := e.Newest[it.Ref.Collapse]
	e.Newest[it.Ref.Collapse] = it
	if older == nil {
		return
	}
	older.Ref.Deadline = 1
	switch older.State {
	case UntilDue:
		q.replaced = append(q.replaced, older)
	case ForSlot:
		e.Look = now
		q.List(e, now)
	}
}

// SettleReplaced makes the items due that a newer one replaced while they waited for their time.
func (q *Queue) SettleReplaced(now int64) {
	if len(q.replaced) == 0 {
		return
	}
	replaced := make(map[*Item]bool, len(q.replaced))
	for _, it := range q.replaced {
		replaced[it] = true
	}
	q.replaced = q.replaced[:0]
	q.MakeDue(now, func(it *Item) bool { return replaced[it] })
}

// Unsupersede forgets an item that is settled.
func (q *Queue) Unsupersede(it *Item) {
	if e := it.Endpoint; it.Ref.Collapse != 0 && e.Newest[it.Ref.Collapse] == it {
		delete(e.Newest, it.Ref.Collapse)
	}
}
