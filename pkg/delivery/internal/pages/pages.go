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
	// First is when its first attempt began, in seconds of the wall clock, 0 where there was none.
	First uint32
	// Attempts is the number of recorded attempts, as Counted.
	Attempts uint8
}

// Counted is the number of attempts in a reference: at most 255, which only changes of an endpoint exceed.
func Counted(n int) uint8 { return uint8(min(max(n, 0), math.MaxUint8)) }

const (
	// leastBytes is what every stored reference takes; mostBytes includes what not every one has.
	leastBytes     = 6 + 6 + 1 + 1 + 8 + 4 + 4
	mostBytes      = leastBytes + 8 + 8 + 4
	pageReferences = 64
	pagePrefix     = "w/"
)

// What not every reference has.
const (
	hasOrderingKey = 1 << iota
	hasCollapse
	hasFirst
)

func (r Reference) encode(b []byte) []byte {
	var has byte
	if r.OrderingKey != 0 {
		has |= hasOrderingKey
	}
	if r.Collapse != 0 {
		has |= hasCollapse
	}
	if r.First != 0 {
		has |= hasFirst
	}
	b = append48(b, r.Offset)
	b = append48(b, r.Due)
	b = append(b, r.Attempts, has)
	b = binary.BigEndian.AppendUint64(b, r.Endpoint)
	b = binary.BigEndian.AppendUint32(b, r.ID)
	b = binary.BigEndian.AppendUint32(b, r.Deadline)
	if r.OrderingKey != 0 {
		b = binary.BigEndian.AppendUint64(b, r.OrderingKey)
	}
	if r.Collapse != 0 {
		b = binary.BigEndian.AppendUint64(b, r.Collapse)
	}
	if r.First != 0 {
		b = binary.BigEndian.AppendUint32(b, r.First)
	}
	return b
}

// parseReference reads one reference and returns what follows it; false where the bytes are not one.
func parseReference(b []byte) (r Reference, rest []byte, ok bool) {
	if len(b) < leastBytes {
		return r, nil, false
	}
	r = Reference{
		Offset: read48(b), Due: read48(b[6:]), Attempts: b[12],
		Endpoint: binary.BigEndian.Uint64(b[14:]), ID: binary.BigEndian.Uint32(b[22:]), Deadline: binary.BigEndian.Uint32(b[26:]),
	}
	has := b[13]
	ok = has < hasFirst<<1
	b = b[leastBytes:]
	take := func(mark byte, n int) []byte {
		if has&mark == 0 || len(b) < n {
			ok = ok && has&mark == 0
			return make([]byte, 8)
		}
		field := b[:n]
		b = b[n:]
		return field
	}
	r.OrderingKey = binary.BigEndian.Uint64(take(hasOrderingKey, 8))
	r.Collapse = binary.BigEndian.Uint64(take(hasCollapse, 8))
	r.First = binary.BigEndian.Uint32(take(hasFirst, 4))
	return r, b, ok
}

func append48(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(v>>32)), uint32(v))
}

func read48(b []byte) int64 {
	return int64(binary.BigEndian.Uint16(b))<<32 | int64(binary.BigEndian.Uint32(b[2:]))
}

// NoSlot is the slot of a reference that is in no page.
const NoSlot int32 = -1

// Pages hold which references of a partition the store has, or will have after the next commit: 64 to a record, since a
// record costs 140 bytes more than its length. They know them by number; what they are is asked when a page is encoded.
// Pages are filled one after the other, and only pages that are at most half full are filled again: the additions of a
// commit lie in few pages, and pages are at least half full on average.
type Pages struct {
	pages     []*page
	partly    []int32        // pages that are at most half full, now or when they were listed
	open      int32          // the page being filled, −1 when none
	dirty     map[int32]bool // true: with a reference that is not in the store yet
	Count     int
	reference func(number int32) Reference
}

type page struct {
	numbers [pageReferences]int32 // by place; free is a free one
	used    uint8
	listed  bool // in partly
}

const free int32 = -1

// New holds nothing yet; reference is the one of a number that was added.
func New(reference func(number int32) Reference) *Pages {
	return &Pages{open: -1, dirty: map[int32]bool{}, reference: reference}
}

func (p *Pages) append() *page {
	n := &page{}
	for i := range n.numbers {
		n.numbers[i] = free
	}
	p.pages = append(p.pages, n)
	return n
}

// Add puts a reference into a slot.
func (p *Pages) Add(number int32) int32 {
	if p.open < 0 || p.pages[p.open].used == pageReferences {
		p.nextPage()
	}
	to := p.pages[p.open]
	place := int32(0)
	for to.numbers[place] != free {
		place++
	}
	to.numbers[place] = number
	to.used++
	p.dirty[p.open] = true
	p.Count++
	return p.open*pageReferences + place
}

// nextPage opens another page.
func (p *Pages) nextPage() {
	for len(p.partly) > 0 {
		last := len(p.partly) - 1
		n := p.partly[last]
		p.partly, p.pages[n].listed = p.partly[:last], false
		if p.pages[n].used <= pageReferences/2 && n != p.open {
			p.open = n
			return
		}
	}
	p.open = int32(len(p.pages))
	p.append()
}

// Touch notes that the reference in a slot changed.
func (p *Pages) Touch(slot int32) { p.touch(slot / pageReferences) }

// Remove frees a slot.
func (p *Pages) Remove(slot int32) {
	n := slot / pageReferences
	p.pages[n].numbers[slot%pageReferences] = free
	p.touch(n)
	p.pages[n].used--
	p.Count--
	p.list(n)
}

// list notes a page that can be filled again.
func (p *Pages) list(n int32) {
	if of := p.pages[n]; of.used <= pageReferences/2 && !of.listed {
		p.partly, of.listed = append(p.partly, n), true
	}
}

func (p *Pages) touch(n int32) {
	if _, ok := p.dirty[n]; !ok {
		p.dirty[n] = false
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
	all := make([]state.Entry, 0, len(p.pages))
	for n := range p.pages {
		if value := p.encode(int32(n)); value != nil {
			all = append(all, state.Entry{Key: pageKey(int32(n)), Value: value})
		}
	}
	return all
}

// encode is nil for a page without references.
func (p *Pages) encode(n int32) []byte {
	of := p.pages[n]
	if of.used == 0 {
		return nil
	}
	value := make([]byte, 0, int(of.used)*mostBytes)
	for _, number := range of.numbers {
		if number != free {
			value = p.reference(number).encode(value)
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
func (p *Pages) Number() int { return len(p.pages) }

// Stored is a reference that was found in the store, and its slot.
type Stored struct {
	Reference
	Slot int32
}

// Load appends the next page from its stored value, nil where it is empty, and its references to all. Each has to be Put.
func (p *Pages) Load(all []Stored, value []byte) ([]Stored, error) {
	slot := int32(len(p.pages)) * pageReferences
	for rest := value; len(rest) > 0; slot++ {
		var r Reference
		var ok bool
		if r, rest, ok = parseReference(rest); !ok || int(slot)/pageReferences > len(p.pages) {
			return nil, fmt.Errorf("page %d of references is damaged: %d bytes", p.Number(), len(value))
		}
		all = append(all, Stored{r, slot})
	}
	p.append()
	return all, nil
}

// Put notes which number the reference in a slot has, that was loaded.
func (p *Pages) Put(slot, number int32) {
	of := p.pages[slot/pageReferences]
	of.numbers[slot%pageReferences] = number
	of.used++
	p.Count++
}

// Loaded ends the loading: pages with room can be filled.
func (p *Pages) Loaded() {
	for n := range p.pages {
		p.list(int32(n))
	}
}
