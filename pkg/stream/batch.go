package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// A record batch, format 2: a head of 61 bytes, then the records, compressed
// together or not.
const (
	batchHead      = 61
	atLength       = 8
	atMagic        = 16
	atCRC          = 17
	atAttributes   = 21
	atLastDelta    = 23
	atFirstTime    = 27
	atMaxTime      = 35
	atCount        = 57
	leastRecord    = 7 // bytes: six fields and its length
	attrControl    = 1 << 5
	attrAppendTime = 1 << 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errBatch = errors.New("record batch is damaged")
	errCRC   = errors.New("record batch fails its checksum")
)

func checksum(batch []byte) uint32 { return crc32.Checksum(batch[atAttributes:], castagnoli) }

// appendBatch adds items as one batch.
func appendBatch(b []byte, items []item, compression kafka.Compression) ([]byte, error) {
	head := len(b)
	b = append(b, make([]byte, batchHead)...)
	first := items[0].rec.Time.UnixMilli()
	latest := first
	if compression == 0 {
		b = appendRecords(b, items, first)
	} else {
		buf, _ := buffers.Get().(*[]byte)
		raw := appendRecords((*buf)[:0], items, first)
		out := bytes.NewBuffer(b)
		w := compression.Codec().NewWriter(out)
		_, err := w.Write(raw)
		err = errors.Join(err, w.Close())
		if *buf = raw; cap(raw) <= keepBuffer {
			buffers.Put(buf)
		}
		if err != nil {
			return nil, fmt.Errorf("compress batch: %w", err)
		}
		b = out.Bytes()
	}
	for i := range items {
		latest = max(latest, items[i].rec.Time.UnixMilli())
	}
	h := b[head:]
	binary.BigEndian.PutUint32(h[atLength:], uint32(len(h)-atLength-4))
	binary.BigEndian.PutUint32(h[atLength+4:], ^uint32(0)) // leader's epoch
	h[atMagic] = 2
	binary.BigEndian.PutUint16(h[atAttributes:], uint16(compression))
	binary.BigEndian.PutUint32(h[atLastDelta:], uint32(len(items)-1))
	binary.BigEndian.PutUint64(h[atFirstTime:], uint64(first))
	binary.BigEndian.PutUint64(h[atMaxTime:], uint64(latest))
	for i := atMaxTime + 8; i < atCount; i++ {
		h[i] = 0xff // no producer id, epoch, sequence
	}
	binary.BigEndian.PutUint32(h[atCount:], uint32(len(items)))
	binary.BigEndian.PutUint32(h[atCRC:], checksum(h))
	return b, nil
}

func appendRecords(b []byte, items []item, first int64) []byte {
	for i := range items {
		r := &items[i].rec
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

// read takes the records at and after b.Next out of a partition's record set.
// Keys, values and headers are parts of it. A batch tells where it ends, so that
// what holds no records any more, or only markers, is passed over exactly.
func (b *Batch) read(set []byte, topic string, partition int32) error {
	began, whole := b.Next, len(set)
	for len(set) > atMagic {
		size := int64(binary.BigEndian.Uint32(set[atLength:])) + atLength + 4
		if size > int64(len(set)) {
			break // brokers cut the last one off where the answer is full
		}
		if size <= atMagic {
			return fmt.Errorf("read records of %s/%d: %w", topic, partition, errBatch)
		}
		one := set[:size:size]
		set = set[size:]
		if one[atMagic] != 2 {
			if err := b.readOld(one, topic, partition); err != nil {
				return err
			}
			continue
		}
		if err := b.readBatch(one, topic, partition); err != nil {
			return fmt.Errorf("read records of %s/%d: %w", topic, partition, err)
		}
	}
	if b.Next == began && whole > 0 {
		return fmt.Errorf("read records of %s/%d: %w: nothing in it leads on from %d", topic, partition, errBatch, began)
	}
	return nil
}

func (b *Batch) readBatch(one []byte, topic string, partition int32) error {
	if len(one) < batchHead {
		return errBatch
	}
	base := int64(binary.BigEndian.Uint64(one))
	end := base + int64(int32(binary.BigEndian.Uint32(one[atLastDelta:]))) + 1
	attributes := binary.BigEndian.Uint16(one[atAttributes:])
	if end <= b.Next {
		return nil
	}
	if checksum(one) != binary.BigEndian.Uint32(one[atCRC:]) {
		return errCRC
	}
	if attributes&attrControl != 0 {
		b.Next = end
		return nil
	}
	d := recordDecoder{topic: topic, partition: partition, base: base, first: int64(binary.BigEndian.Uint64(one[atFirstTime:]))}
	if attributes&attrAppendTime != 0 {
		d.appended = int64(binary.BigEndian.Uint64(one[atMaxTime:]))
	}
	d.b = one[batchHead:]
	if c := kafka.Compression(attributes & 7); c != 0 {
		var err error
		if d.b, err = decompress(d.b, c); err != nil {
			return err
		}
	}
	n := int(int32(binary.BigEndian.Uint32(one[atCount:])))
	if n < 0 || n > len(d.b)/leastRecord {
		return errBatch
	}
	b.Records = slices.Grow(b.Records, n)
	for range n {
		r, ok := d.next()
		if !ok {
			return errBatch
		}
		if r.Offset >= b.Next {
			b.Records = append(b.Records, r)
			b.Next = r.Offset + 1
		}
	}
	b.Next = max(b.Next, end)
	return nil
}

func decompress(in []byte, c kafka.Compression) ([]byte, error) {
	codec := c.Codec()
	if codec == nil {
		return nil, fmt.Errorf("%w: nobody knows compression %d", errBatch, c)
	}
	r := codec.NewReader(bytes.NewReader(in))
	defer r.Close()
	buf, _ := buffers.Get().(*[]byte)
	out := bytes.NewBuffer((*buf)[:0])
	_, err := out.ReadFrom(io.LimitReader(r, maxAnswer))
	raw := bytes.Clone(out.Bytes()) // of its own size: records keep it
	if *buf = out.Bytes(); cap(*buf) <= keepBuffer {
		buffers.Put(buf)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress batch: %w", err)
	}
	return raw, nil
}

// recordDecoder takes records off a batch. Neighbours mostly have the same
// headers: their names are kept, and their slices come from one.
type recordDecoder struct {
	b               []byte
	topic           string
	partition       int32
	base            int64
	first, appended int64
	names           []string
	free            []Header
}

// headerSlab is how many headers are made at once.
const headerSlab = 256

func (d *recordDecoder) next() (r Record, ok bool) {
	size, ok := d.varint()
	if !ok || size < leastRecord-1 || size > int64(len(d.b)) {
		return r, false
	}
	rest := d.b[size:]
	d.b = d.b[1:size:size] // attributes are unused
	since, ok1 := d.varint()
	delta, ok2 := d.varint()
	key, ok3 := d.bytes()
	value, ok4 := d.bytes()
	headers, ok5 := d.varint()
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || headers < 0 || headers > int64(len(d.b)/2) {
		return r, false
	}
	at := d.first + since
	if d.appended != 0 {
		at = d.appended
	}
	r = Record{Topic: d.topic, Partition: d.partition, Offset: d.base + delta, Key: key, Value: value, Time: time.UnixMilli(at).UTC()}
	if headers > 0 {
		if r.Headers, ok = d.headers(int(headers)); !ok {
			return r, false
		}
	}
	d.b = rest
	return r, true
}

func (d *recordDecoder) headers(n int) ([]Header, bool) {
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
	if !ok || n > int64(len(d.b)) {
		return nil, false
	}
	if n < 0 {
		return nil, true
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out, true
}

// readOld reads a message of a format before 2, which only topics have that are
// older than Kafka 0.11, by kafka-go.
func (b *Batch) readOld(one []byte, topic string, partition int32) error {
	var set protocol.RecordSet
	sized := append(binary.BigEndian.AppendUint32(nil, uint32(len(one))), one...)
	if _, err := set.ReadFrom(bytes.NewReader(sized)); err != nil {
		return fmt.Errorf("read records of %s/%d: %w", topic, partition, err)
	}
	for set.Records != nil {
		rec, err := set.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read records of %s/%d: %w", topic, partition, err)
		}
		key, err1 := kafka.ReadAll(rec.Key)
		value, err2 := kafka.ReadAll(rec.Value)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("read record %d of %s/%d: %w", rec.Offset, topic, partition, err)
		}
		if rec.Offset >= b.Next {
			b.Records = append(b.Records, Record{Topic: topic, Partition: partition, Offset: rec.Offset, Time: rec.Time.UTC(), Key: key, Value: value})
			b.Next = rec.Offset + 1
		}
	}
	return nil
}
