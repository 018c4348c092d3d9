package codec

import (
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one record, read or to be written.
//
// Bytes handed to Produce must not be changed afterwards, not even after an
// error: a request may still be on its way. Bytes of records that were read
// are parts of the answer that brought them (up to some MiB): a record that is
// kept for long is cloned.
type Record struct {
	// Topic is the full topic name, prefix included.
	Topic string
	// Partition to write to; -1 (or AnyPartition) means by key as the Java client does,
	// spread round robin when the key is nil.
	Partition int32
	// Offset is set on records that were read; ignored when producing.
	Offset int64
	// Key is nil for none; an empty key is a key.
	Key, Value []byte
	Headers    []Header
	// Time is the producer's CreateTime in ms. Zero when producing: stamped when handed in.
	Time time.Time
}

// AnyPartition as a record's partition lets its key decide.
const AnyPartition int32 = -1

// Header returns the value of the first header of that name.
func (r Record) Header(key string) ([]byte, bool) {
	for _, h := range r.Headers {
		if h.Key == key {
			return h.Value, true
		}
	}
	return nil, false
}

// Size is what the record takes in a batch before compression, rounded up.
func (r *Record) Size() int {
	n := len(r.Key) + len(r.Value) + 32
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	return n
}

// Hash distinguishes a log that was created anew from one that goes on: it covers the key, the value, the offset and
// the time, and never 0.
func (r Record) Hash() uint64 {
	d := xxhash.New()
	_, _ = d.Write(r.Key)
	_, _ = d.Write([]byte{0})
	_, _ = d.Write(r.Value)
	_, _ = fmt.Fprintf(d, "\x00%d\x00%d", r.Offset, r.Time.UnixMilli())
	return max(d.Sum64(), 1)
}

// Batch is what one fetch brought.
type Batch struct {
	// Records from the offset asked for on, in order; empty when nothing came in time.
	Records []Record
	// Start is the log's first offset, End the one after the last that may be read: an
	// open transaction and what follows it are beyond it.
	Start, End int64
	// Next is where to continue: the offset after the last record, or further where the log
	// holds no records (control batches, aborted transactions), never over a record that was
	// not returned.
	Next int64
	// Damaged has the offsets up to Next that can't be read. Only readers that ask for it
	// get it, in a batch without records.
	Damaged *DamagedError

	// High is the offset after the last acknowledged record.
	High int64
}
