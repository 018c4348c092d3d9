package window

// An entry is on several lists at once, each of them linked within the entries: it leaves any of them in constant time.
const (
	// inPartition: all entries of a partition, by offset.
	inPartition = iota
	// unsent: those of a partition that were never sent, by offset.
	unsent
	// inTurn: the entries that may be sent, or those sent and not acknowledged, by their first sending.
	inTurn
	// byDue: those sent and not acknowledged, by when they are to be sent again.
	byDue

	lists
)

// list is one of the lists that entries are on.
type list struct {
	kind        int
	first, last *entry
	n           int
}

type links struct{ before, after *entry }

func (l *list) push(e *entry) {
	e.on[l.kind] = links{before: l.last}
	if l.last == nil {
		l.first = e
	} else {
		l.last.on[l.kind].after = e
	}
	l.last = e
	l.n++
}

func (l *list) remove(e *entry) {
	at := e.on[l.kind]
	if at.before == nil {
		l.first = at.after
	} else {
		at.before.on[l.kind].after = at.after
	}
	if at.after == nil {
		l.last = at.before
	} else {
		at.after.on[l.kind].before = at.before
	}
	e.on[l.kind] = links{}
	l.n--
}
