// Package pages keeps references to the deliveries of a partition that wait, and packs them into records of a store: pure,
// without clock or input and output.
package pages

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/tollgate/tollgate/pkg/state"
)

// Reference is what is stored of a delivery that is not settled: everything but its body, which is fetched from Kafka.
type Reference struct {
	// Offset is below 2^48.
	Offset int64
	// Due is when it may be sent, in ms of the wall clock, below 2^48.
	Due int64
	// Endpoint and OrderingKey are hashes: they decide the order before the body is read. Two endpoints with one hash
	// share their slots, two ordering keys their order; both stay correct. OrderingKey 0 is none.
	Endpoint, OrderingKey uint64
	// Collapse is a hash of the text that it shares with those it replaces, 0 for none.
	Collapse uint64
	// ID is a hash of the delivery's id and replay job; a fetched body with another hash is another delivery's.
	ID uint32
	// Deadline is when it is settled whatever its endpoint does, in seconds of the wall clock: it expires, or is too old.
	Deadline uint32
	// Attempts is the number of recorded attempts, as Counted.
	Attempts uint8
}

// Counted is the number of attempts in a reference: at most 255, which only changes of an endpoint exceed.
func Counted(n int) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }

const (
	// Bytes is the size of a stored reference.
	Bytes          = 6 + 6 + 1 + 8 + 8 + 8 + 4 + 4
	pageReferences = 64
	pagePrefix     = "w/"
)

func (r Reference) encode(b []byte) []byte {
	b = append48(b, r.Offset)
	b = append48(b, r.Due)
	b = append(b, r.Attempts)
	b = binary.BigEndian.AppendUint64(b, r.Endpoint)
	b = binary.BigEndian.AppendUint64(b, r.OrderingKey)
	b = binary.BigEndian.AppendUint64(b, r.Collapse)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	return binary.BigEndian.AppendUint32(b, r.Deadline)
}

func parseReference(b []byte) Reference {
	return Reference{
		Offset: read48(b), Due: read48(b[6:]), Attempts: b[12],
		Endpoint:    binary.BigEndian.Uint64(b[13:]),
		OrderingKey: binary.BigEndian.Uint64(b[21:]),
		Collapse:    binary.BigEndian.Uint64(b[29:]),
		ID:          binary.BigEndian.Uint32(b[37:]),
		Deadline:    binary.BigEndian.Uint32(b[41:]),
	}
}

func append48(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(v>>32)), uint32(v))
}

func read48(b []byte) int64 {
	return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
}

// NoSlot is the slot of a reference that is in no page.
const NoSlot int32 = -1

// Pages hold a partition's references as the store has them, or will have them after the next commit: 64 to a record,
// since a record costs 140 bytes more than its length. Pages are filled one after the other, and only pages that are at
// most half full are filled again: the additions of a commit lie in few pages, and pages are at least half full on
// average.
type Pages struct {
	Refs []Reference // by slot; offset −1 is free
	// used counts the references of a page; partly are pages that are at most half full, now or when they were listed.
	used   []uint8
	partly []int32
	listed []bool         // in partly
	open   int32          // the page being filled, −1 when none
	dirty  map[int32]bool // true: with a reference that is not in the store yet
	Count  int
}

// New holds nothing yet.
func New() *Pages { return &Pages{open: -1, dirty: map[int32]bool{}} }

// Add puts a reference into a slot.
func (p *Pages) Add(r Reference) int32 {
	if p.open < 0 || p.used[p.open] == pageReferences {
		p.nextPage()
	}
	slot := p.open * pageReferences
	for p.Refs[slot].Offset >= 0 {
		slot++
	}
	p.Refs[slot] = r
	p.used[p.open]++
	p.dirty[p.open] = true
	p.Count++
	return slot
}

// nextPage opens another page.
func (p *Pages) nextPage() {
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
		p.Refs = append(p.Refs, Reference{Offset: -1})
	}
}

// Set changes the reference in a slot.
func (p *Pages) Set(slot int32, r Reference) {
	p.Refs[slot] = r
	p.touch(slot / pageReferences)
}

// Remove frees a slot.
func (p *Pages) Remove(slot int32) {
	page := slot / pageReferences
	p.Refs[slot].Offset = -1
	p.touch(page)
	p.used[page]--
	p.Count--
	p.list(page)
}

// list notes a page that can be filled again.
func (p *Pages) list(page int32) {
	if p.used[page] <= pageReferences/2 && !p.listed[page] {
		p.partly, p.listed[page] = append(p.partly, page), true
	}
}

func (p *Pages) touch(page int32) {
	if _, ok := p.dirty[page]; !ok {
		p.dirty[page] = false
	}
}

// Changes are the puts and deletes for the store: all pages with a new reference, and as many others as there is room
// for; left counts the pages without room, whose references the store has as before.
func (p *Pages) Changes(room int) (puts []state.Entry, deletes []string, left int) {
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

// All are the entries of the store once every change is in it.
func (p *Pages) All() []state.Entry {
	all := make([]state.Entry, 0, len(p.used))
	for page := range p.used {
		if value := p.encode(int32(page)); value != nil {
			all = append(all, state.Entry{Key: pageKey(int32(page)), Value: value})
		}
	}
	return all
}

// encode is nil for a page without references.
func (p *Pages) encode(page int32) []byte {
	if p.used[page] == 0 {
		return nil
	}
	value := make([]byte, 0, int(p.used[page])*Bytes)
	for _, r := range p.Refs[page*pageReferences : (page+1)*pageReferences] {
		if r.Offset >= 0 {
			value = r.encode(value)
		}
	}
	return value
}

// Keys are the keys of n pages from a number on.
func Keys(from, n int) []string {
	keys := make([]string, 0, n)
	for i := range n {
		keys = append(keys, pageKey(int32(from+i)))
	}
	return keys
}

func pageKey(page int32) string { return pagePrefix + strconv.Itoa(int(page)) }

// Number is how many pages there are, including empty ones.
func (p *Pages) Number() int { return len(p.used) }

// Load appends the next page from its stored value, nil where it is empty.
func (p *Pages) Load(value []byte) error {
	if len(value)%Bytes != 0 || len(value) > pageReferences*Bytes {
		return fmt.Errorf("page %d of references has %d bytes", p.Number(), len(value))
	}
	n := len(value) / Bytes
	page := int32(len(p.used))
	for i := range pageReferences {
		r := Reference{Offset: -1}
		if i < n {
			r = parseReference(value[i*Bytes:])
		}
		p.Refs = append(p.Refs, r)
	}
	p.used, p.listed = append(p.used, uint8(n)), append(p.listed, false)
	p.Count += n
	p.list(page)
	return nil
}
