package codec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/reason"
)

var everyCodec = []kafka.Compression{kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd}

// altered is a batch of five records at offset 10 whose records, or head, were changed; its checksum is right.
func altered(t *testing.T, c kafka.Compression, records func([]byte) []byte, head func([]byte)) []byte {
	t.Helper()
	recs := make([]Record, 5)
	for i := range recs {
		recs[i] = Record{Key: []byte("key"), Value: fmt.Appendf(nil, "value %d", i), Time: time.UnixMilli(1),
			Headers: []Header{{Key: "h", Value: []byte("v")}}}
	}
	b, err := appendAll(nil, recs, 0)
	if err != nil {
		t.Fatal(err)
	}
	raw := b[batchHead:]
	if records != nil {
		raw = records(bytes.Clone(raw))
	}
	out, err := pack(bytes.Clone(b[:batchHead]), raw, c)
	if err != nil {
		t.Fatal(err)
	}
	return framed(out, byte(c), head)
}

// framed gives a batch a head that fits it, changes that, and sums it up.
func framed(b []byte, attributes byte, head func([]byte)) []byte {
	binary.BigEndian.PutUint64(b, 10)
	binary.BigEndian.PutUint32(b[atLength:], uint32(len(b)-atLength-4))
	b[atAttributes+1] = attributes
	if head != nil {
		head(b)
	}
	binary.BigEndian.PutUint32(b[atCRC:], checksum(b))
	return b
}

func compressed(t *testing.T, c kafka.Compression, payload []byte) []byte {
	t.Helper()
	b := altered(t, 0, nil, nil)[:batchHead]
	return framed(append(b, payload...), byte(c), nil)
}

func zeros(n int) func([]byte) []byte { return func([]byte) []byte { return make([]byte, n) } }

// one record with the fields as given.
func oneRecord(fields ...int64) func([]byte) []byte {
	return func([]byte) []byte {
		b := []byte{0}
		for _, f := range fields {
			b = binary.AppendVarint(b, f)
		}
		return append(binary.AppendVarint(nil, int64(len(b))), b...)
	}
}

func count(n uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[atCount:], n) }
}

func lastDelta(n int32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[atLastDelta:], uint32(n)) }
}

func both(f ...func([]byte)) func([]byte) {
	return func(b []byte) {
		for _, f := range f {
			f(b)
		}
	}
}

// unreadable are batches at offsets 10 to 14 that can't be read.
func unreadable(t *testing.T) map[string][]byte {
	uvarint := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	be := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	frame := append(bytes.Clone(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
	rows := map[string][]byte{
		"an unknown codec": altered(t, 0, nil, func(b []byte) { b[atAttributes+1] = 7 }),
		"a raw snappy block that by its head unpacks to 4 GiB": compressed(t, kafka.Snappy, append(uvarint(1<<32-1), "xxxx"...)),
		"a snappy frame that declares 4 GiB":                   compressed(t, kafka.Snappy, slices.Concat(frame, be(1<<32-1), []byte("xxxx"))),
		"a snappy frame that ends in its length":               compressed(t, kafka.Snappy, slices.Concat(frame, be(3)[:2])),
		"a snappy head without its versions":                   compressed(t, kafka.Snappy, frame[:12]),
		"a zstd frame with a window of 3 TiB":                  compressed(t, kafka.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xf7, 1, 0, 0}),
		"a zstd frame that by its head unpacks to 2^62 bytes":  compressed(t, kafka.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0}),
		"a count of one more":                                  altered(t, 0, nil, both(count(6), lastDelta(5))),
		"a count of one less":                                  altered(t, 0, nil, count(4)),
		"a count of none":                                      altered(t, 0, nil, count(0)),
		"a count below none":                                   altered(t, 0, nil, count(1<<32-5)),
		"a count of 2^31-1":                                    altered(t, 0, nil, both(count(1<<31-1), lastDelta(1<<31-2))),
		"more records than offsets":                            altered(t, 0, nil, lastDelta(3)),
		"bytes behind its records":                             altered(t, 0, func(b []byte) []byte { return append(b, "more"...) }, nil),
		"its last byte missing":                                altered(t, 0, func(b []byte) []byte { return b[:len(b)-1] }, nil),
		"a record of a length below none":                      altered(t, 0, func(b []byte) []byte { return append(binary.AppendVarint(nil, -8), b...) }, nil),
		"a record of 2^62 bytes":                               altered(t, 0, func(b []byte) []byte { return append(binary.AppendVarint(nil, 1<<62), b...) }, nil),
		"a varint without an end":                              altered(t, 0, func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }, nil),
		"a key of a length below null":                         altered(t, 0, oneRecord(0, 0, -2, -1, 0), count(1)),
		"a value of 2^40 bytes":                                altered(t, 0, oneRecord(0, 0, -1, 1<<40, 0), count(1)),
		"headers below none":                                   altered(t, 0, oneRecord(0, 0, -1, -1, -1), count(1)),
		"2^40 headers":                                         altered(t, 0, oneRecord(0, 0, -1, -1, 1<<40), count(1)),
		"a header that is not there":                           altered(t, 0, oneRecord(0, 0, -1, -1, 1), count(1)),
		"an offset below the batch's":                          altered(t, 0, oneRecord(0, -1, -1, -1, 0), count(1)),
		"an offset beyond the batch's":                         altered(t, 0, oneRecord(0, 5, -1, -1, 0), count(1)),
		"an offset that overflows":                             altered(t, 0, oneRecord(0, 1<<63-1, -1, -1, 0), count(1)),
		"offsets that go backwards": altered(t, 0, func([]byte) []byte {
			return append(oneRecord(0, 3, -1, -1, 0)(nil), oneRecord(0, 2, -1, -1, 0)(nil)...)
		}, count(2)),
		"an offset that is there twice": altered(t, 0, func([]byte) []byte {
			return append(oneRecord(0, 3, -1, -1, 0)(nil), oneRecord(0, 3, -1, -1, 0)(nil)...)
		}, count(2)),
		"a record with something behind its headers": altered(t, 0, oneRecord(0, 0, -1, -1, 0, 7), count(1)),
		"a format of the future":                     altered(t, 0, nil, func(b []byte) { b[atMagic] = 3 }),
		"a format of before Kafka 0.11":              altered(t, 0, nil, func(b []byte) { b[atMagic] = 1 }),
		"a checksum that does not fit":               damagedCRC(altered(t, 0, nil, nil)),
	}
	tooMany := make([]int64, 4+1+2*(maxHeaders+1))
	tooMany[2], tooMany[3], tooMany[4] = -1, -1, maxHeaders+1
	rows["more headers than are taken"] = altered(t, kafka.Gzip, oneRecord(tooMany...), count(1))
	for _, c := range everyCodec {
		rows[fmt.Sprintf("%s: unpacks to more than the bound", c)] = altered(t, c, zeros(32<<20+1), nil)
		rows[fmt.Sprintf("%s: unpacks to 100 MiB", c)] = altered(t, c, zeros(100<<20), nil)
		rows[fmt.Sprintf("%s: cut off", c)] = func() []byte {
			b := altered(t, c, nil, nil)
			return framed(b[:len(b)-9], byte(c), nil)
		}()
		rows[fmt.Sprintf("%s: a large one cut off", c)] = func() []byte {
			b := altered(t, c, zeros(3<<20), nil)
			return framed(b[:len(b)-9], byte(c), nil)
		}()
		rows[fmt.Sprintf("%s: garbage behind the data", c)] = framed(append(altered(t, c, nil, nil),
			"garbage behind the data"...), byte(c), nil)
		rows[fmt.Sprintf("%s: garbage alone", c)] = compressed(t, c, bytes.Repeat([]byte("garbage"), 9))
		rows[fmt.Sprintf("%s: nothing", c)] = compressed(t, c, nil)
		rows[fmt.Sprintf("%s: records that are none", c)] = altered(t, c, zeros(1000), nil)
	}
	return rows
}

func damagedCRC(b []byte) []byte {
	b[atCRC]++
	return b
}

// Whatever is in a batch: no record of it is handed on, what it takes is bounded, and reading goes on behind it.
func TestTake_ReportsAnUnreadableBatchByItsOffsets(t *testing.T) {
	after := altered(t, 0, nil, func(b []byte) { binary.BigEndian.PutUint64(b, 15) })
	for name, bad := range unreadable(t) {
		t.Run(name, func(t *testing.T) {
			var before, behind runtime.MemStats
			runtime.ReadMemStats(&before)
			u := testUnpacker(10, 20)
			u.add(append(bytes.Clone(bad), after...), 20)
			b, err := u.Take(t.Context())
			runtime.ReadMemStats(&behind)
			var damaged *DamagedError
			if !errors.As(err, &damaged) || len(b.Records) > 0 {
				t.Fatalf("%d records, error %v", len(b.Records), err)
			}
			if damaged.First != 10 || damaged.Next != 15 || !bytes.Equal(damaged.Raw, bad) {
				t.Errorf("offsets %d to %d, %d bytes of %d", damaged.First, damaged.Next, len(damaged.Raw), len(bad))
			}
			large := strings.Contains(name, "unpacks to") || strings.Contains(name, "headers than are taken")
			if large != (damaged.Reason == reason.BatchTooLarge) {
				t.Errorf("reason %s: %s", damaged.Reason, damaged.Detail)
			}
			if took := behind.TotalAlloc - before.TotalAlloc; took > 48<<20 {
				t.Errorf("%d MiB were taken", took>>20)
			}
			u.Next = damaged.Next
			if b, err := u.Take(t.Context()); err != nil || len(b.Records) != 5 || b.Next != 20 {
				t.Errorf("afterwards %d records up to %d, %v", len(b.Records), b.Next, err)
			}
		})
	}
}

// A head that makes no sense may hide where the next batch begins: one offset is given up then.
func TestTake_SenselessHeadCostsOneOffset(t *testing.T) {
	for name, head := range map[string]func([]byte){
		"a length below a head's":       func(b []byte) { binary.BigEndian.PutUint32(b[atLength:], 4) },
		"a length below nothing":        func(b []byte) { binary.BigEndian.PutUint32(b[atLength:], 1<<32-100) },
		"a length beyond the answer":    func(b []byte) { binary.BigEndian.PutUint32(b[atLength:], 1<<31-1) },
		"an end before its beginning":   lastDelta(-2),
		"a beginning below nothing":     func(b []byte) { binary.BigEndian.PutUint64(b, 1<<63) },
		"an end before what is asked":   func(b []byte) { binary.BigEndian.PutUint64(b, 1) },
		"an end that overflows offsets": func(b []byte) { binary.BigEndian.PutUint64(b, 1<<63-2) },
	} {
		t.Run(name, func(t *testing.T) {
			u := testUnpacker(10, 20)
			u.Add(Set{All: altered(t, 0, nil, head), Alone: true}, 0, 20, 20)
			_, err := u.Take(t.Context())
			var damaged *DamagedError
			want := int64(11)
			if strings.HasPrefix(name, "a length") {
				want = 15 // its offsets are well
			}
			if !errors.As(err, &damaged) || damaged.First != 10 || damaged.Next != want {
				t.Fatalf("%v", err)
			}
		})
	}
}

// What was damaged on its way is asked for again; the same bytes twice are damaged where they lie.
func TestDoubt_ConfirmsTheSameBytesTheSecondTime(t *testing.T) {
	find := func(set []byte) error {
		u := testUnpacker(10, 20)
		u.add(set, 20)
		_, err := u.Take(t.Context())
		return err
	}
	final := func(err error) bool {
		var damaged *DamagedError
		return errors.As(err, &damaged)
	}
	once, other := damagedCRC(altered(t, 0, nil, nil)), damagedCRC(altered(t, kafka.Gzip, nil, nil))
	var d Doubt
	for i, row := range []struct {
		set   []byte
		final bool
	}{{once, false}, {other, false}, {once, false}, {append(bytes.Clone(once), "more came behind"...), true}, {once,
		false}} {
		if err := d.Confirm(find(row.set)); final(err) != row.final || err == nil {
			t.Errorf("answer %d: %v", i, err)
		}
	}
	if err := new(Doubt).Confirm(find(altered(t, kafka.Zstd, zeros(40<<20), nil))); !final(err) {
		t.Errorf("a batch that is too large and fits its checksum: %v", err)
	}
}

// A batch that is larger than a piece comes in pieces, in order and whole; with damage anywhere none of it comes.
func TestTake_LargeBatchComesInPieces(t *testing.T) {
	const (
		records = 60_000
		piece   = 2 << 20
	)
	recs := make([]Record, records)
	for i := range recs {
		recs[i] = Record{Value: fmt.Appendf(nil, "value %d of some length that is the same for each", i),
			Time: time.UnixMilli(1)}
	}
	for _, c := range append(everyCodec, 0) {
		set, err := appendAll(nil, recs, c)
		if err != nil {
			t.Fatal(err)
		}
		u := testUnpacker(0, records)
		held, released := 0, 0
		u.Limit = piece
		u.Admit = func(context.Context) error { held++; return nil }
		u.Release = func(n int) { released += n }
		u.add(set, records)
		next, pieces := int64(0), 0
		for next < records {
			b, err := u.Take(t.Context())
			if err != nil || len(b.Records) == 0 || len(b.Records)*recordCost > piece {
				t.Fatalf("%s: %d records at %d, %v", c, len(b.Records), next, err)
			}
			for _, r := range b.Records {
				if r.Offset != next || string(r.Value) != string(recs[next].Value) {
					t.Fatalf("%s: %d holds %q", c, r.Offset, r.Value)
				}
				next++
			}
			pieces++
		}
		if want := map[bool]int{true: 0, false: 1}[c == 0]; pieces < 4 || held != want ||
			held*u.MaxBatch != released+u.Finished {
			t.Errorf("%s: %d pieces, %d times memory, %d bytes of it given back, %d finished with", c, pieces, held,
				released, u.Finished)
		}
	}
	raw := appendRecords(nil, records, func(i int) *Record { return &recs[i] }, 1)
	raw[len(raw)-1] = 9 // the last record declares headers
	bad, err := pack(bytes.Clone(altered(t, 0, nil, nil)[:batchHead]), raw, kafka.Lz4)
	if err != nil {
		t.Fatal(err)
	}
	bad = framed(bad, byte(kafka.Lz4), both(count(records), lastDelta(records-1)))
	u := testUnpacker(10, records+10)
	u.Limit = piece
	u.add(bad, records+10)
	if b, err := u.Take(t.Context()); err == nil || len(b.Records) > 0 {
		t.Errorf("%d records of a batch whose last one is damaged", len(b.Records))
	}
}

// What a transaction aborted is dropped, and nothing else: not what its producer wrote before or after, not what others
// wrote between.
func TestTake_DropsAbortedTransactions(t *testing.T) {
	var set []byte
	base := int64(0)
	put := func(producer int64, attributes byte, value string) {
		b := stamped(t, base, []Record{{Value: []byte(value), Time: time.UnixMilli(1)}}, 0)
		binary.BigEndian.PutUint64(b[atProducer:], uint64(producer))
		b[atAttributes+1] |= attributes
		resum(b)
		set = append(set, b...)
		base++
	}
	const txn = attrTransaction
	put(1, txn, "a: committed")        // 0
	put(1, txn|attrControl, "commit")  // 1
	put(1, txn, "b: aborted")          // 2
	put(2, txn, "c: committed")        // 3
	put(-1, 0, "d: in no transaction") // 4
	put(1, 0, "e: idempotent alone")   // 5
	put(2, txn|attrControl, "commit")  // 6
	put(1, txn, "f: aborted")          // 7
	put(1, txn|attrControl, "abort")   // 8
	put(1, txn, "g: committed")        // 9
	put(2, txn, "h: aborted")          // 10
	put(2, txn|attrControl, "abort")   // 11
	put(1, txn|attrControl, "commit")  // 12
	u := testUnpacker(0, base)
	u.Add(Set{All: set, Aborted: []Aborted{{2, 10}, {1, 2}}}, 0, base, base) // in no order
	b, err := u.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, r := range b.Records {
		got += string(r.Value[:1])
	}
	if got != "acdeg" || b.Next != base {
		t.Errorf("read %s up to %d, want acdeg up to %d", got, b.Next, base)
	}
}

func FuzzUnpack(f *testing.F) {
	for _, c := range everyCodec {
		b, err := pack(nil, []byte("some bytes, some bytes, some bytes"), c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(c))
	}
	f.Fuzz(func(t *testing.T, in []byte, c uint8) {
		out, err := unpack(make([]byte, 0, 4096), in, kafka.Compression(c&7))
		if err == nil && len(out) > 4096 {
			t.Errorf("%d bytes where there is room for 4096", len(out))
		}
	})
}
