package queue

// The heap of items that wait for their due time; items with one due time are in the order of the log.

func (q *Queue) dueBefore(a, b int32) bool {
	x, y := q.items.at(a), q.items.at(b)
	if x.Due() != y.Due() {
		return x.Due() < y.Due()
	}
	return x.Offset() < y.Offset()
}

func (q *Queue) pushDue(it *Item) {
	q.due = append(q.due, it.self)
	h := q.due
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.dueBefore(h[i], h[parent]) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (q *Queue) popDue() *Item {
	top, last := q.due[0], len(q.due)-1
	q.due[0] = q.due[last]
	q.due = q.due[:last]
	q.sinkDue(0)
	return q.items.at(top)
}

// reorderDue restores the heap after due times changed.
func (q *Queue) reorderDue() {
	for i := len(q.due)/2 - 1; i >= 0; i-- {
		q.sinkDue(i)
	}
}

func (q *Queue) sinkDue(i int) {
	h := q.due
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if q.dueBefore(h[c], h[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
