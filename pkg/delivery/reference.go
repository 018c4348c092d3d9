package delivery

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/state"
)

// reference is what is stored of a delivery that is not settled: everything but its body, which is fetched from Kafka.
type reference struct {
	offset int64
	// id is a hash of the delivery's id and replay job; a fetched body with another hash is another delivery's.
	id uint32
	// due is when it may be sent, in ms of the wall clock.
	due int64
	// attempts is the number of recorded attempts, as counted.
	attempts uint8
	// endpoint and orderingKey are hashes like id: they decide the order before the body is read. Two endpoints with
	// one hash share their slots, two ordering keys their order; both stay correct. Ordering key 0 is none.
	endpoint    uint32
	orderingKey uint64
}

// counted is the number of attempts in a reference: at most 255, which only changes of an endpoint exceed.
func counted(n int) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }

const (
	referenceBytes = 33
	pageReferences = 64
	pagePrefix     = "w/"
)

func (r reference) encode(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(r.offset))
	b = binary.BigEndian.AppendUint64(b, uint64(r.due))
	b = append(b, r.attempts)
	b = binary.BigEndian.AppendUint32(b, r.endpoint)
	b = binary.BigEndian.AppendUint64(b, r.orderingKey)
	return binary.BigEndian.AppendUint32(b, r.id)
}

// idHash is never 0, which stands for an unknown id.
func idHash(id, job string) uint32 {
	var h xxhash.Digest
	h.Reset()
	for _, s := range [...]string{id, "\x00", job} {
		_, _ = h.WriteString(s) // never fails
	}
	return max(uint32(h.Sum64()), 1)
}

// of reports whether a delivery is the one of the reference.
func (r *reference) of(d *Delivery) bool {
	return r.id == idHash(d.ID, d.ReplayJob) && r.endpoint == endpointHash(d.Endpoint) && r.orderingKey == orderingKeyHash(d)
}

func parseReference(b []byte) reference {
	return reference{
		offset:      int64(binary.BigEndian.Uint64(b)),
		due:         int64(binary.BigEndian.Uint64(b[8:])),
		attempts:    b[16],
		endpoint:    binary.BigEndian.Uint32(b[17:]),
		orderingKey: binary.BigEndian.Uint64(b[21:]),
		id:          binary.BigEndian.Uint32(b[29:]),
	}
}

// noSlot is the slot of a reference that is in no page.
const noSlot int32 = -1

// pages hold a partition's references as the store has them, or will have them after the next commit: 64 to a record,
// since a record costs 140 bytes more than its length. Pages are filled one after the other, and only pages that are at
// most half full are filled again: the additions of a commit lie in few pages, and pages are at least half full on
// average.
type pages struct {
	refs []reference // by slot; offset −1 is free
	// used counts the references of a page; partly are pages that are at most half full, now or when they were listed.
	used   []uint8
	partly []int32
	listed []bool         // in partly
	open   int32          // the page being filled, −1 when none
	dirty  map[int32]bool // true: with a reference that is not in the store yet
	count  int
}

func newPages() *pages { return &pages{open: -1, dirty: map[int32]bool{}} }

// add puts a reference into a slot.
func (p *pages) add(r reference) int32 {
	if p.open < 0 || p.used[p.open] == pageReferences {
		p.nextPage()
	}
	slot := p.open * pageReferences
	for p.refs[slot].offset >= 0 {
		slot++
	}
	p.refs[slot] = r
	p.used[p.open]++
	p.dirty[p.open] = true
	p.count++
	return slot
}

// nextPage opens another page.
func (p *pages) nextPage() {
	for len(p.partly) > 0 {
		last := len(p.partly) - 1
		page := p.partly[last]
		p.partly, p.listed[page] = p.partly[:last], false
		if p.used[page] <= pageReferences/2 && page != p.open {
			p.open = page
			return
		}
	}
	p.open = int32(len(p.used))
	p.used, p.listed = append(p.used, 0), append(p.listed, false)
	for range pageReferences {
		p.refs = append(p.refs, reference{offset: -1})
	}
}

// set changes the reference in a slot.
func (p *pages) set(slot int32, r reference) {
	p.refs[slot] = r
	p.touch(slot / pageReferences)
}

// remove frees a slot.
func (p *pages) remove(slot int32) {
	page := slot / pageReferences
	p.refs[slot].offset = -1
	p.touch(page)
	p.used[page]--
	p.count--
	p.list(page)
}

// list notes a page that can be filled again.
func (p *pages) list(page int32) {
	if p.used[page] <= pageReferences/2 && !p.listed[page] {
		p.partly, p.listed[page] = append(p.partly, page), true
	}
}

func (p *pages) touch(page int32) {
	if _, ok := p.dirty[page]; !ok {
		p.dirty[page] = false
	}
}

// changes are the puts and deletes for the store: all pages with a new reference, and as many others as there is room
// for; left counts the pages without room, whose references the store has as before.
func (p *pages) changes(room int) (puts []state.Entry, deletes []string, left int) {
	n := 0
	change := func(page int32) {
		n++
		delete(p.dirty, page)
		if value := p.encode(page); value == nil {
			deletes = append(deletes, pageKey(page))
		} else {
			puts = append(puts, state.Entry{Key: pageKey(page), Value: value})
		}
	}
	for page, added := range p.dirty {
		if added {
			change(page)
		}
	}
	for page := range p.dirty {
		if n >= room {
			break
		}
		change(page)
	}
	return puts, deletes, len(p.dirty)
}

// encode is nil for a page without references.
func (p *pages) encode(page int32) []byte {
	if p.used[page] == 0 {
		return nil
	}
	value := make([]byte, 0, int(p.used[page])*referenceBytes)
	for _, r := range p.refs[page*pageReferences : (page+1)*pageReferences] {
		if r.offset >= 0 {
			value = r.encode(value)
		}
	}
	return value
}

// pageKeys are the keys of n pages from a number on.
func pageKeys(from, n int) []string {
	keys := make([]string, 0, n)
	for i := range n {
		keys = append(keys, pageKey(int32(from+i)))
	}
	return keys
}

func pageKey(page int32) string { return pagePrefix + strconv.Itoa(int(page)) }

// number is how many pages there are, including empty ones.
func (p *pages) number() int { return len(p.used) }

// load appends the next page from its stored value, nil where it is empty.
func (p *pages) load(value []byte) error {
	if len(value)%referenceBytes != 0 || len(value) > pageReferences*referenceBytes {
		return fmt.Errorf("page %d of references has %d bytes", p.number(), len(value))
	}
	n := len(value) / referenceBytes
	page := int32(len(p.used))
	for i := range pageReferences {
		r := reference{offset: -1}
		if i < n {
			r = parseReference(value[i*referenceBytes:])
		}
		p.refs = append(p.refs, r)
	}
	p.used, p.listed = append(p.used, uint8(n)), append(p.listed, false)
	p.count += n
	p.list(page)
	return nil
}
