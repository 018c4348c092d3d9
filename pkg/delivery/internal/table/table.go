// Package table is an index of numbered things by 64-bit hashes: five to seven bytes each, where a map takes forty. It is pure.
package table

import "math/bits"

// Table holds numbers, found by the hash of the thing that each stands for. It is an array with linear probing that is 60 to
// 80 % full. Two numbers may have one hash.
type Table struct {
	slots []int32 // number + 1; 0 is free
	// N is how many numbers it holds.
	N    int
	hash func(number int32) uint64
}

// New is an index of things whose hash never changes while they are in it.
func New(hash func(number int32) uint64) Table { return Table{hash: hash} }

const least = 16

// home is where a hash belongs.
func (t *Table) home(hash uint64) int {
	// Offsets lie close together; a multiplication spreads them over the upper bits.
	hi, _ := bits.Mul64((hash^hash>>32)*0x9e3779b97f4a7c15, uint64(len(t.slots)))
	return int(hi)
}

func (t *Table) after(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// Find returns a number with a hash for which is returns true, -1 where there is none.
func (t *Table) Find(hash uint64, is func(number int32) bool) int32 {
	if t.N == 0 {
		return -1
	}
	for i := t.home(hash); t.slots[i] != 0; i = t.after(i) {
		if n := t.slots[i] - 1; is(n) {
			return n
		}
	}
	return -1
}

// Add adds a number that it does not hold.
func (t *Table) Add(number int32) {
	if 5*(t.N+1) > 4*len(t.slots) {
		t.grow()
	}
	t.put(number)
	t.N++
}

func (t *Table) put(number int32) {
	i := t.home(t.hash(number))
	for t.slots[i] != 0 {
		i = t.after(i)
	}
	t.slots[i] = number + 1
}

func (t *Table) grow() {
	old := t.slots
	t.slots = make([]int32, max(least, len(old)*4/3))
	for _, s := range old {
		if s != 0 {
			t.put(s - 1)
		}
	}
}

// place is where a number lies, -1 where it is not in the table.
func (t *Table) place(number int32) int {
	if t.N == 0 {
		return -1
	}
	for i := t.home(t.hash(number)); t.slots[i] != 0; i = t.after(i) {
		if t.slots[i] == number+1 {
			return i
		}
	}
	return -1
}

// Replace puts a number of the same hash in the place of another.
func (t *Table) Replace(old, number int32) { t.slots[t.place(old)] = number + 1 }

// Remove removes a number, where the table holds it. What was pushed on by it moves back, so no marks of removed numbers
// make later searches long.
func (t *Table) Remove(number int32) {
	free := t.place(number)
	if free < 0 {
		return
	}
	t.N--
	for i := t.after(free); t.slots[i] != 0; i = t.after(i) {
		home := t.home(t.hash(t.slots[i] - 1))
		// It may move to the free place where that lies between its home and where it is, round the end.
		if (i-home+len(t.slots))%len(t.slots) >= (i-free+len(t.slots))%len(t.slots) {
			t.slots[free] = t.slots[i]
			free = i
		}
	}
	t.slots[free] = 0
}
