package codec

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/segmentio/kafka-go"
)

// A record batch, format 2: a head of 61 bytes, then the records, compressed
// together or not.
const (
	batchHead       = 61
	atLength        = 8
	atMagic         = 16
	atCRC           = 17
	atAttributes    = 21
	atLastDelta     = 23
	atFirstTime     = 27
	atMaxTime       = 35
	atCount         = 57
	atProducer      = 43
	leastRecord     = 7 // bytes: six fields and its length
	attrAppendTime  = 1 << 3
	attrTransaction = 1 << 4
	attrControl     = 1 << 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(batch []byte) uint32 { return crc32.Checksum(batch[atAttributes:], castagnoli) }

// AppendBatch appends n records as one batch; record returns one by its index.
func AppendBatch(b []byte, n int, record func(int) *Record, compression kafka.Compression) ([]byte, error) {
	head := len(b)
	b = append(b, make([]byte, batchHead)...)
	first := record(0).Time.UnixMilli()
	latest := first
	if compression == 0 {
		b = appendRecords(b, n, record, first)
	} else {
		buf := Buffer()
		raw := appendRecords((*buf)[:0], n, record, first)
		var err error
		b, err = pack(b, raw, compression)
		KeepBuffer(buf, raw)
		if err != nil {
			return nil, fmt.Errorf("compress batch: %w", err)
		}
	}
	for i := range n {
		latest = max(latest, record(i).Time.UnixMilli())
	}
	h := b[head:]
	binary.BigEndian.PutUint32(h[atLength:], uint32(len(h)-atLength-4))
	binary.BigEndian.PutUint32(h[atLength+4:], ^uint32(0)) // leader's epoch
	h[atMagic] = 2
	binary.BigEndian.PutUint16(h[atAttributes:], uint16(compression))
	binary.BigEndian.PutUint32(h[atLastDelta:], uint32(n-1))
	binary.BigEndian.PutUint64(h[atFirstTime:], uint64(first))
	binary.BigEndian.PutUint64(h[atMaxTime:], uint64(latest))
	for i := atMaxTime + 8; i < atCount; i++ {
		h[i] = 0xff // no producer id, epoch, sequence
	}
	binary.BigEndian.PutUint32(h[atCount:], uint32(n))
	binary.BigEndian.PutUint32(h[atCRC:], checksum(h))
	return b, nil
}

func appendRecords(b []byte, count int, record func(int) *Record, first int64) []byte {
	for i := range count {
		r := record(i)
		since := r.Time.UnixMilli() - first
		n := 1 + varintLen(since) + varintLen(int64(i)) + bytesLen(r.Key) + bytesLen(r.Value) + varintLen(int64(len(r.Headers)))
		for k := range r.Headers {
			n += varintLen(int64(len(r.Headers[k].Key))) + len(r.Headers[k].Key) + bytesLen(r.Headers[k].Value)
		}
		b = binary.AppendVarint(b, int64(n))
		b = append(b, 0)
		b = binary.AppendVarint(b, since)
		b = binary.AppendVarint(b, int64(i))
		b = appendBytes(b, r.Key)
		b = appendBytes(b, r.Value)
		b = binary.AppendVarint(b, int64(len(r.Headers)))
		for k := range r.Headers {
			b = binary.AppendVarint(b, int64(len(r.Headers[k].Key)))
			b = append(b, r.Headers[k].Key...)
			b = appendBytes(b, r.Headers[k].Value)
		}
	}
	return b
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v)<<1 ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

func appendBytes(b, v []byte) []byte {
	if v == nil {
		return append(b, 1) // -1
	}
	return append(binary.AppendVarint(b, int64(len(v))), v...)
}
