package queue

// Ring is a first-in first-out queue that reuses its memory.
type Ring[T any] struct {
	buf     []T
	head, N int
}

func (r *Ring[T]) Push(v T) {
	if r.N == len(r.buf) {
		grown := make([]T, max(4, 2*r.N))
		for i := range r.N {
			grown[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.N)%len(r.buf)] = v
	r.N++
}

// First is the value that pop takes next.
func (r *Ring[T]) First() T { return r.buf[r.head] }

func (r *Ring[T]) Pop() T {
	v := r.buf[r.head]
	var zero T
	r.buf[r.head] = zero
	r.head = (r.head + 1) % len(r.buf)
	r.N--
	return v
}

// at is the i-th value from the front.
func (r *Ring[T]) at(i int) T { return r.buf[(r.head+i)%len(r.buf)] }

// remove takes the i-th value out; those before it move up.
func (r *Ring[T]) remove(i int) T {
	v := r.at(i)
	for ; i > 0; i-- {
		r.buf[(r.head+i)%len(r.buf)] = r.at(i - 1)
	}
	r.Pop()
	return v
}

// dueHeap holds the items that wait for their due time, the earliest on top; items with one due time are in the order
// of the log.
type dueHeap []*Item

func (h dueHeap) before(i, j int) bool {
	if h[i].Due != h[j].Due {
		return h[i].Due < h[j].Due
	}
	return h[i].Ref.Offset < h[j].Ref.Offset
}

func (h *dueHeap) push(it *Item) {
	*h = append(*h, it)
	h.up(len(*h) - 1)
}

func (h *dueHeap) pop() *Item {
	old := *h
	top := old[0]
	last := len(old) - 1
	old[0], old[last] = old[last], nil
	*h = old[:last]
	h.down(0)
	return top
}

// reorder restores the heap after due times changed.
func (h *dueHeap) reorder() {
	for i := len(*h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h dueHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(i, parent) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

func (h dueHeap) down(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(h); c++ {
			if h.before(c, least) {
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
