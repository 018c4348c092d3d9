package pages

// Offsets is a set of offsets; where they lie close it takes one bit for each.
type Offsets map[int64]*chunk

// chunk holds 65,536 offsets, and the id (a hash, 0 where it is not known) of the delivery at the first. Ids of the
// whole set would take four bytes each.
type chunk struct {
	bits    [1024]uint64
	firstAt int64
	firstID uint32
}

// Add notes an offset and the id of the delivery there.
func (s *Offsets) Add(offset int64, id uint32) {
	if *s == nil {
		*s = Offsets{}
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

// Has reports whether the set holds an offset.
func (s Offsets) Has(offset int64) bool {
	c := s[offset>>16]
	return c != nil && c.bits[offset>>6&1023]&(1<<(offset&63)) != 0
}

// First returns the id at an offset that is the first of its chunk. Offsets are asked in ascending order, so a set of
// another log is detected before any of its offsets is used.
func (s Offsets) First(offset int64) (id uint32, known bool) {
	c := s[offset>>16]
	if c == nil || c.firstAt != offset {
		return 0, false
	}
	return c.firstID, c.firstID != 0
}
