package delivery

// ring is a first-in first-out queue that reuses its memory.
type ring[T any] struct {
	buf     []T
	head, n int
}

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		grown := make([]T, max(4, 2*r.n))
		for i := range r.n {
			grown[i] = r.buf[(r.head+i)%len(r.buf)]
		}
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.n)%len(r.buf)] = v
	r.n++
}

// first is the value that pop takes next.
func (r *ring[T]) first() T { return r.buf[r.head] }

func (r *ring[T]) pop() T {
	v := r.buf[r.head]
	var zero T
	r.buf[r.head] = zero
	r.head = (r.head + 1) % len(r.buf)
	r.n--
	return v
}

// at is the i-th value from the front.
func (r *ring[T]) at(i int) T { return r.buf[(r.head+i)%len(r.buf)] }

// remove takes the i-th value out; those before it move up.
func (r *ring[T]) remove(i int) T {
	v := r.at(i)
	for ; i > 0; i-- {
		r.buf[(r.head+i)%len(r.buf)] = r.at(i - 1)
	}
	r.pop()
	return v
}

// dueHeap holds the items that wait for their due time, the earliest on top; items with one due time are in the order
// of the log.
type dueHeap []*item

func (h dueHeap) before(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].ref.Offset < h[j].ref.Offset
}

func (h *dueHeap) push(it *item) {
	*h = append(*h, it)
	h.up(len(*h) - 1)
}

func (h *dueHeap) pop() *item {
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
