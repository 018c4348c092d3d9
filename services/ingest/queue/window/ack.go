package window

// Ref finds an event that waits for its ack.
type Ref struct {
	Partition int
	Offset    int64
}

// AckTo acknowledges every event of which a sending has a number up to seq, and returns how many it were.
func (w *Window) AckTo(seq uint64) (acked int) {
	for e := w.sent.first; e != nil && e.first <= seq; e = w.sent.first {
		w.done(e)
		acked++
	}
	return acked
}

// Ack acknowledges one event; false where it does not wait for an ack.
func (w *Window) Ack(at Ref) bool {
	e := w.find(at)
	if e != nil {
		w.done(e)
	}
	return e != nil
}

// Waits reports whether an event waits for its ack, with what is sent of it.
func (w *Window) Waits(at Ref) (Event, bool) {
	if e := w.find(at); e != nil {
		return e.Event, true
	}
	return Event{}, false
}

// Named finds the events with a name that wait for their ack: one, unless its producer sent it several times.
func (w *Window) Named(name uint64) (found []Ref) {
	if w.names == nil {
		w.names = make(map[uint64]*entry, w.sent.n)
		for e := w.sent.first; e != nil; e = e.on[inTurn].after {
			w.nameSent(e)
		}
	}
	for e := w.names[name]; e != nil; e = e.sameName {
		found = append(found, Ref{e.partition, e.Offset})
	}
	return found
}

func (w *Window) nameSent(e *entry) {
	if w.names != nil {
		e.sameName = w.names[e.Name]
		w.names[e.Name] = e
	}
}

func (w *Window) forgetName(e *entry) {
	if w.names == nil {
		return
	}
	if w.names[e.Name] == e {
		if w.names[e.Name] = e.sameName; e.sameName == nil {
			delete(w.names, e.Name)
		}
		return
	}
	for other := w.names[e.Name]; other != nil; other = other.sameName {
		if other.sameName == e {
			other.sameName = e.sameName
			return
		}
	}
}

func (w *Window) find(at Ref) *entry {
	if at.Partition < 0 || at.Partition >= len(w.parts) {
		return nil
	}
	return w.parts[at.Partition].sent[at.Offset]
}

// done removes what was acknowledged; the next event of its key may be sent.
func (w *Window) done(e *entry) {
	part := &w.parts[e.partition]
	part.all.remove(e)
	delete(part.sent, e.Offset)
	w.sent.remove(e)
	w.due.remove(e)
	w.forgetName(e)
	w.pending--
	w.bytes -= len(e.Value)
	if !w.ordered || e.Key == 0 {
		return
	}
	c := w.keys[e.Key]
	if c.first = e.behind; c.first == nil {
		delete(w.keys, e.Key)
		c.last = nil
		w.spare = c
		return
	}
	w.ready.push(c.first)
}
