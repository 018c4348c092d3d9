package queue

// supersede notes an item that replaces an older one of the same text. The older one is past its deadline then: it is
// settled as soon as it is the head of its ordering key, also where its endpoint is held.
func (q *Queue) supersede(it *Item, now int64) {
	e := q.Of(it)
	if e.Newest == nil {
		e.Newest = map[uint64]*Item{}
	}
	text := q.collapse[it.self]
	older := e.Newest[text]
	e.Newest[text] = it
	if older == nil {
		return
	}
	older.deadline = 1
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

// unsupersede forgets an item that is settled.
func (q *Queue) unsupersede(it *Item) {
	if !it.is(hasCollapse) {
		return
	}
	if e, text := q.Of(it), q.collapse[it.self]; e.Newest[text] == it {
		delete(e.Newest, text)
	}
}

// Replaced reports that a newer item replaces one.
func (q *Queue) Replaced(it *Item) bool {
	if !it.is(hasCollapse) {
		return false
	}
	newest := q.Of(it).Newest[q.collapse[it.self]]
	return newest != nil && newest.Offset() > it.Offset()
}
