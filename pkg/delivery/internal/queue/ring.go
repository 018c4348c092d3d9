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
