// Package duelist keeps the lists of which subjects have a timer that is due in which minute.
package duelist

import (
	"container/heap"
	"encoding/binary"
	"strconv"

	"github.com/tollgate/tollgate/pkg/wire"
)

// Due times are in records; a list per minute has whose. A timer due within a minute, its end included, is in
// the list of that end, with how long before it. A list is worked whole once log time has reached its end; until then
// what is due in it is worked as log time reaches that. An entry whose record is not due is passed over: a subject that
// is touched fires its own timers, and a timer may have moved.

const MinuteMillis = 60_000

// MinuteOf is the minute under which a due time is listed.
func MinuteOf(due int64) int64 { return (due + MinuteMillis - 1) / MinuteMillis }

// Reached is the last minute that log time has reached.
func Reached(logTime int64) int64 { return logTime / MinuteMillis }

// FirstOf is the first time that is listed under a minute.
func FirstOf(minute int64) int64 { return (minute-1)*MinuteMillis + 1 }

// dueEntry is a subject in a list, and when its timer is due.
type Entry struct {
	Subject string
	at      int64
}

func Append(list []byte, subject string, at int64) []byte {
	list = binary.AppendUvarint(list, uint64(len(subject)))
	list = append(list, subject...)
	return binary.AppendUvarint(list, uint64(MinuteOf(at)*MinuteMillis-at))
}

// readDue takes at most n subjects off a list, from a position, and returns the position behind them.
func Read(list []byte, from int64, n int) (subjects []string, next int64) {
	if from >= int64(len(list)) {
		return nil, from
	}
	r := wire.Reader{Rest: list[from:]}
	for len(subjects) < n && len(r.Rest) > 0 && !r.Bad {
		subjects = append(subjects, string(r.Bytes(r.Uvarint())))
		r.Uvarint()
	}
	return subjects, int64(len(list) - len(r.Rest))
}

// within are the entries of a minute's list that are due before its end.
func within(list []byte, minute int64) (entries []Entry) {
	r := wire.Reader{Rest: list}
	for len(r.Rest) > 0 && !r.Bad {
		subject := r.Bytes(r.Uvarint())
		if before := int64(r.Uvarint()); before > 0 && !r.Bad {
			entries = append(entries, Entry{string(subject), minute*MinuteMillis - before})
		}
	}
	return entries
}

// minuteList is what is due within a minute, before its end.
type List struct {
	Minute  int64 // 0: not read
	entries entries
}

// Add takes over what a commit has added to a list.
func (m *List) Add(minute int64, list []byte) {
	if m.Minute != minute {
		return
	}
	for _, e := range within(list, minute) {
		heap.Push(&m.entries, e)
	}
}

// Push adds an entry.
func (m *List) Push(e Entry) { heap.Push(&m.entries, e) }

// Pop takes off what is due first; there is something.
func (m *List) Pop() Entry { return heap.Pop(&m.entries).(Entry) }

// First is when the first entry is due, not ok where there is none.
func (m *List) First() (at int64, ok bool) {
	if len(m.entries) == 0 {
		return 0, false
	}
	return m.entries[0].at, true
}

// readMinuteList is what a stored list has.
func Parse(minute int64, list []byte) List {
	m := List{Minute: minute, entries: within(list, minute)}
	heap.Init(&m.entries)
	return m
}

// DueBy reports whether something is due by a time.
func (m *List) DueBy(at int64) bool { return len(m.entries) > 0 && m.entries[0].at <= at }

// entries has what is due first in front.
type entries []Entry

func (h entries) Len() int           { return len(h) }
func (h entries) Less(i, j int) bool { return h[i].at < h[j].at }
func (h entries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *entries) Push(e any)        { *h = append(*h, e.(Entry)) }

func (h *entries) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	*h = (*h)[:last]
	return e
}

// keyPrefix is that of the lists' keys in a partition's store.
const keyPrefix = "d:"

func Key(minute int64) string { return keyPrefix + strconv.FormatInt(minute, 10) }

func MinuteOfKey(key string) int64 {
	m, _ := strconv.ParseInt(key[len(keyPrefix):], 10, 64)
	return m
}
