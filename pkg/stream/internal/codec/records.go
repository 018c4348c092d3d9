package codec

import (
	"encoding/binary"
	"fmt"
	"time"
)

const (
	// maxHeaders bounds the headers of one record: each takes two bytes of a
	// batch and some forty of memory.
	maxHeaders = 10_000
	// recordCost and headerCost are what a record and a header take beside their bytes.
	recordCost = 128
	headerCost = 40
)

// recordDecoder takes records off a batch. Neighbours mostly have the same
// headers: their names are kept, and their slices come from one.
type recordDecoder struct {
	b               []byte
	left            int // records that follow
	topic           string
	partition       int32
	base            int64
	last            int64 // offset of the last record; those that follow are above it
	end             int64 // and below this
	first, appended int64
	names           []string
	free            []Header
}

// headerSlab is how many headers are made at once.
const headerSlab = 256

// next is the next record and what it takes of memory. look makes no headers:
// it only checks that the record is whole.
func (d *recordDecoder) next(look bool) (r Record, cost int, err error) {
	size, ok := d.varint()
	if !ok || size < leastRecord-1 || size > int64(len(d.b)) {
		return r, 0, fmt.Errorf("%w: a record of %d bytes, %d are left", errBatch, size, len(d.b))
	}
	rest := d.b[size:]
	d.b = d.b[1:size:size] // attributes are unused
	since, ok1 := d.varint()
	delta, ok2 := d.varint()
	key, ok3 := d.bytes()
	value, ok4 := d.bytes()
	headers, ok5 := d.varint()
	offset := d.base + delta
	switch {
	case !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || headers < 0 || headers > int64(len(d.b)/2):
		return r, 0, fmt.Errorf("%w: the record after offset %d is not whole", errBatch, d.last)
	case delta < 0 || offset <= d.last || offset >= d.end:
		return r, 0, fmt.Errorf("%w: offset %d follows %d in a batch that ends at %d", errBatch, offset, d.last, d.end)
	case headers > maxHeaders:
		return r, 0, fmt.Errorf("%w: %d headers of one record, at most %d are taken", errTooMuch, headers, maxHeaders)
	}
	at := d.first + since
	if d.appended != 0 {
		at = d.appended
	}
	r = Record{Topic: d.topic, Partition: d.partition, Offset: offset, Key: key, Value: value,
		Time: time.UnixMilli(at).UTC()}
	if headers > 0 {
		if r.Headers, ok = d.headers(int(headers), look); !ok {
			return r, 0, fmt.Errorf("%w: the headers of offset %d are not whole", errBatch, offset)
		}
	}
	if len(d.b) > 0 {
		return r, 0, fmt.Errorf("%w: %d bytes follow the record at offset %d within its length", errBatch, len(d.b),
			offset)
	}
	d.b = rest
	d.last = offset
	if d.left--; d.left == 0 && len(rest) > 0 {
		return r, 0, fmt.Errorf("%w: %d bytes follow its last record", errBatch, len(rest))
	}
	return r, int(size) + recordCost + int(headers)*headerCost, nil
}

// whole checks that the records that follow are well formed, and takes none.
func (d *recordDecoder) whole() error {
	ahead := *d
	for ahead.left > 0 {
		if _, _, err := ahead.next(true); err != nil {
			return err
		}
	}
	return nil
}

func (d *recordDecoder) headers(n int, look bool) ([]Header, bool) {
	if look {
		for range n {
			_, ok1 := d.bytes()
			_, ok2 := d.bytes()
			if !ok1 || !ok2 {
				return nil, false
			}
		}
		return nil, true
	}
	if n > len(d.free) {
		d.free = make([]Header, max(n, min(headerSlab, len(d.b)*n/16)))
	}
	out := d.free[:n:n]
	d.free = d.free[n:]
	for i := range out {
		name, ok1 := d.bytes()
		value, ok2 := d.bytes()
		if !ok1 || !ok2 {
			return nil, false
		}
		switch {
		case i >= len(d.names):
			d.names = append(d.names, string(name))
		case d.names[i] != string(name):
			d.names[i] = string(name)
		}
		out[i] = Header{Key: d.names[i], Value: value}
	}
	return out, true
}

func (d *recordDecoder) varint() (int64, bool) {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		u := d.b[0]
		d.b = d.b[1:]
		return int64(u>>1) ^ -int64(u&1), true
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		return 0, false
	}
	d.b = d.b[n:]
	return v, true
}

// bytes are nil for null.
func (d *recordDecoder) bytes() ([]byte, bool) {
	n, ok := d.varint()
	if !ok || n < -1 || n > int64(len(d.b)) {
		return nil, false
	}
	if n < 0 {
		return nil, true
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out, true
}
