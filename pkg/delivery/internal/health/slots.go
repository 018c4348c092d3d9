package health

// FirstSlots is how many requests an endpoint gets at once before anything is known of it.
const FirstSlots = 4

// Slots is how many requests an endpoint gets at once: more after clean rounds, fewer after signs of load.
type Slots struct {
	n     int // 0 is FirstSlots
	clean int // successes since n changed or a request failed
	slow  bool
}

// Number is how many requests may be under way; limit is the endpoint's own.
func (s *Slots) Number(limit int) int {
	if s.slow {
		return 1
	}
	return min(s.now(), max(1, limit))
}

func (s *Slots) now() int {
	if s.n == 0 {
		return FirstSlots
	}
	return s.n
}

// Restart begins with one slot, after a circuit was open.
func (s *Slots) Restart() { *s = Slots{n: 1} }

// Apply takes a result over: as many successes in a row as there are slots double them, up to the limit; a sign of load
// halves them; and after a timeout there is one until the next result.
func (s *Slots) Apply(k Kind, limit int) {
	s.slow = k == Slow
	switch k {
	case Success, Reached:
		s.clean++
		if n := s.Number(limit); s.clean >= n {
			s.n, s.clean = min(2*n, max(1, limit)), 0
		}
	case Busy, Throttled, Slow:
		s.n, s.clean = max(1, s.now()/2), 0
	default:
		s.clean = 0
	}
}
