package delivery

// offsets is a set of offsets, a bit each where they lie close.
type offsets map[int64]*chunk

// chunk holds 65,536 of them, and the id (a hash, 0 where it is not known) of
// what stands at the first: with the whole set's it would take four bytes each.
type chunk struct {
	bits    [1024]uint64
	firstAt int64
	firstID uint32
}

func (s *offsets) add(offset int64, id uint32) {
	if *s == nil {
		*s = offsets{}
	}
	c := (*s)[offset>>16]
	if c == nil {
		c = &chunk{firstAt: offset, firstID: id}
		(*s)[offset>>16] = c
	}
	if offset <= c.firstAt {
		c.firstAt, c.firstID = offset, id
	}
	c.bits[offset>>6&1023] |= 1 << (offset & 63)
}

func (s offsets) has(offset int64) bool {
	c := s[offset>>16]
	return c != nil && c.bits[offset>>6&1023]&(1<<(offset&63)) != 0
}

// first is the id at an offset where that is the first of its chunk. Offsets are
// asked in their order: what does not belong together shows before anything is
// taken from it.
func (s offsets) first(offset int64) (id uint32, known bool) {
	c := s[offset>>16]
	if c == nil || c.firstAt != offset {
		return 0, false
	}
	return c.firstID, c.firstID != 0
}
