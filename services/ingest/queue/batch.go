package queue

import (
	"container/list"
	"encoding/binary"
	"sort"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// batch is a stretch of a partition's log, as every stream that is there reads it.
type batch struct {
	log        *partitionLog
	from, next int64
	// tenants has the events of each, by offset; control records are left out.
	tenants map[string][]item
	size    int64
	used    *list.Element
}

// item is one event on a topic.
type item struct {
	offset int64
	typ    string
	// key is of what the event is ordered by, 0 of one without order; name of source, subject and id.
	key, name uint64
	value     []byte
	// received is the time of the record.
	received time.Time
}

// itemSize is what an item takes beside its value, key and headers.
const itemSize = 104

func newBatch(from int64, b stream.Batch) *batch {
	out := &batch{from: from, next: b.Next, tenants: map[string][]item{}, size: 256}
	types := map[string]string{}
	var tenant string
	var items []item
	for i := range b.Records {
		r := &b.Records[i]
		out.size += int64(len(r.Key)+len(r.Value)) + itemSize
		for _, h := range r.Headers {
			out.size += int64(len(h.Key) + len(h.Value))
		}
		one, of, ok := itemOf(r, types)
		if !ok {
			continue
		}
		if string(of) != tenant {
			if items != nil {
				out.tenants[tenant] = items
			}
			items = out.tenants[string(of)]
			tenant = string(of)
		}
		items = append(items, one)
	}
	if items != nil {
		out.tenants[tenant] = items
	}
	return out
}

// itemOf reads what is needed of a record, by its headers; false of control records and of what is no event.
func itemOf(r *stream.Record, types map[string]string) (one item, tenant []byte, ok bool) {
	var typ, id, source, subject []byte
	for _, h := range r.Headers {
		switch h.Key {
		case event.HeaderType:
			typ = h.Value
		case event.HeaderTenant:
			tenant = h.Value
		case event.HeaderID:
			id = h.Value
		case event.HeaderSource:
			source = h.Value
		case event.HeaderSubject:
			subject = h.Value
		}
	}
	if typ == nil || tenant == nil {
		e, err := event.Decode(r.Value)
		if err != nil {
			return one, nil, false
		}
		typ, tenant, id, source, subject = []byte(e.Type), []byte(e.Tenant), []byte(e.ID), []byte(e.Source), []byte(e.Subject)
	}
	name, known := types[string(typ)]
	if !known {
		name = string(typ)
		types[name] = name
	}
	if event.IsControl(name) {
		return one, nil, false
	}
	one = item{offset: r.Offset, typ: name, name: nameOf(source, subject, id), value: r.Value, received: r.Time}
	if len(r.Key) > 0 {
		one.key = max(1, xxhash.Sum64(r.Key))
	}
	return one, tenant, true
}

// nameOf hashes what names an event within its tenant.
func nameOf(source, subject, id []byte) uint64 {
	var room [512]byte
	b := room[:0]
	for _, part := range [...][]byte{source, subject, id} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return xxhash.Sum64(b)
}

// of are the items of a tenant from an offset on.
func (b *batch) of(tenant string, from int64) []item {
	items := b.tenants[tenant]
	if len(items) == 0 || items[0].offset >= from {
		return items
	}
	return items[sort.Search(len(items), func(i int) bool { return items[i].offset >= from }):]
}
