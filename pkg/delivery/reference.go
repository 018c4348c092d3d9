package delivery

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/tollgate/tollgate/pkg/state"
)

// reference is what is kept of a delivery that is not settled: everything but
// its body, which is read back from Kafka.
type reference struct {
	offset int64
	// due is when it may be sent, in ms.
	due int64
	// attempts made and recorded.
	attempts uint8
	// endpoint and lane are hashes: they decide who waits for whom before the
	// body is read. Two endpoints of one hash share their slots, two lanes their
	// order; both stay correct. Lane 0 is none.
	endpoint uint32
	lane     uint64
}

const (
	referenceBytes = 29
	pageReferences = 64
	pagePrefix     = "w/"
)

func (r reference) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.offset))
	b = binary.BigEndian.AppendUint64(b, uint64(r.due))
	b = append(b, r.attempts)
	b = binary.BigEndian.AppendUint32(b, r.endpoint)
	return binary.BigEndian.AppendUint64(b, r.lane)
}

func parseReference(b []byte) reference {
	return reference{
		offset:   int64(binary.BigEndian.Uint64(b)),
		due:      int64(binary.BigEndian.Uint64(b[8:])),
		attempts: b[16],
		endpoint: binary.BigEndian.Uint32(b[17:]),
		lane:     binary.BigEndian.Uint64(b[21:]),
	}
}

// noSlot is where a reference stands that is in no page.
const noSlot int32 = -1

// pages hold a partition's references as they stand, or will with the next
// commit, in the store: 64 to a record, since a record costs 140 bytes more
// than its length. A slot that becomes free is taken first, so that few pages
// change in a commit.
type pages struct {
	refs  []reference // by slot; offset −1 is free
	free  []int32     // free slots below len(refs), the last freed last
	dirty map[int32]struct{}
	count int
}

func newPages() *pages { return &pages{dirty: map[int32]struct{}{}} }

// add puts a reference into a slot.
func (p *pages) add(r reference) int32 {
	if len(p.free) == 0 {
		base := int32(len(p.refs))
		for i := int32(pageReferences - 1); i >= 0; i-- {
			p.free = append(p.free, base+i)
		}
		for range pageReferences {
			p.refs = append(p.refs, reference{offset: -1})
		}
	}
	slot := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	p.set(slot, r)
	p.count++
	return slot
}

// set changes the reference in a slot.
func (p *pages) set(slot int32, r reference) {
	p.refs[slot] = r
	p.dirty[slot/pageReferences] = struct{}{}
}

// remove frees a slot.
func (p *pages) remove(slot int32) {
	p.set(slot, reference{offset: -1})
	p.free = append(p.free, slot)
	p.count--
}

// changes are what the store must put and delete since changes was last asked.
func (p *pages) changes() (puts []state.Entry, deletes []string) {
	for page := range p.dirty {
		var value []byte
		for _, r := range p.refs[page*pageReferences : (page+1)*pageReferences] {
			if r.offset < 0 {
				continue
			}
			if value == nil {
				value = make([]byte, 0, pageReferences*referenceBytes)
			}
			value = r.append(value)
		}
		if value == nil {
			deletes = append(deletes, pageKey(page))
		} else {
			puts = append(puts, state.Entry{Key: pageKey(page), Value: value})
		}
	}
	clear(p.dirty)
	return puts, deletes
}

// pageKeys are the keys under which n pages may stand.
func pageKeys(from, n int) []string {
	keys := make([]string, 0, n)
	for i := range n {
		keys = append(keys, pageKey(int32(from+i)))
	}
	return keys
}

func pageKey(page int32) string { return pagePrefix + strconv.Itoa(int(page)) }

// number is how many pages there are, empty ones included.
func (p *pages) number() int { return len(p.refs) / pageReferences }

// load takes in the value of the next page, nil where it is empty.
func (p *pages) load(value []byte) error {
	if len(value)%referenceBytes != 0 || len(value) > pageReferences*referenceBytes {
		return fmt.Errorf("page %d of references has %d bytes", p.number(), len(value))
	}
	base := int32(len(p.refs))
	n := int32(len(value) / referenceBytes)
	for i := range int32(pageReferences) {
		r := reference{offset: -1}
		if i < n {
			r = parseReference(value[i*referenceBytes:])
			p.count++
		}
		p.refs = append(p.refs, r)
	}
	for i := int32(pageReferences - 1); i >= n; i-- {
		p.free = append(p.free, base+i)
	}
	return nil
}
