package codec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

var someRecords = []Record{
	{Key: []byte("k"), Value: []byte("v"), Time: time.UnixMilli(1_700_000_000_123).UTC(), Headers: []Header{
		{Key: "ce_id", Value: []byte("1")}, {Key: "empty", Value: []byte{}}, {Key: "null"},
	}},
	{Time: time.UnixMilli(1_700_000_000_000).UTC()}, // earlier than the first
	{Key: []byte{}, Value: []byte{}, Time: time.UnixMilli(1_700_000_099_000).UTC(),
		Headers: []Header{{Key: "", Value: []byte("x")}}},
	{Value: []byte(strings.Repeat("long ", 1000)), Time: time.UnixMilli(1_700_000_000_123).UTC(), Headers: []Header{
		{Key: "ce_id", Value: []byte("4")}, {Key: "other", Value: bytes.Repeat([]byte("h"), 300)},
	}},
}

// testUnpacker reads a partition's answers with no bound but its own.
func testUnpacker(from, high int64) *Unpacker {
	return &Unpacker{
		Topic: "t", Partition: 3, Limit: 64 << 20, MaxBatch: 32 << 20, Next: from, End: high, High: high,
		Admit: func(context.Context) error { return nil }, Release: func(int) {},
	}
}

// add appends an answer of a log that ends at high.
func (u *Unpacker) add(set []byte, high int64) { u.Add(Set{All: set}, 0, high, high) }

// readSet is the first piece of one answer.
func readSet(set []byte, from, high int64) (Batch, error) {
	u := testUnpacker(from, high)
	u.add(set, high)
	return u.Take(context.Background())
}

// appendAll is AppendBatch of all of recs.
func appendAll(b []byte, recs []Record, c kafka.Compression) ([]byte, error) {
	return AppendBatch(b, len(recs), func(i int) *Record { return &recs[i] }, c)
}

// at gives records a place, as they are when read.
func at(recs []Record, base int64) []Record {
	out := make([]Record, len(recs))
	for i, r := range recs {
		r.Topic, r.Partition, r.Offset = "t", 3, base+int64(i)
		out[i] = r
	}
	return out
}

func stamped(t *testing.T, base int64, recs []Record, c kafka.Compression) []byte {
	t.Helper()
	b, err := appendAll(nil, recs, c)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(b, uint64(base)) // as the broker does
	return b
}

func TestAppendBatch_IsReadAsItWasWritten(t *testing.T) {
	for _, c := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			set := append(stamped(t, 100, someRecords, c), stamped(t, 104, someRecords, c)...)
			b, err := readSet(set, 102, 108)
			if err != nil {
				t.Fatal(err)
			}
			want := append(at(someRecords, 100)[2:], at(someRecords, 104)...)
			if d := cmp.Diff(want, b.Records); d != "" || b.Next != 108 {
				t.Errorf("next %d, want 108; records -want +got:\n%s", b.Next, d)
			}
		})
	}
}

// Our codec agrees with kafka-go's own, in both directions.
func TestAppendBatch_AgreesWithKafkaGo(t *testing.T) {
	for _, c := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			ours := stamped(t, 7, someRecords, c)
			var set protocol.RecordSet
			if _, err := set.ReadFrom(bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, uint32(len(ours))),
				ours...))); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(at(someRecords, 7), byKafkaGo(t, set.Records)); d != "" {
				t.Errorf("kafka-go reads ours, -want +got:\n%s", d)
			}
			var theirs []kafka.Record
			for _, r := range someRecords {
				k := kafka.Record{Time: r.Time, Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value)}
				for _, h := range r.Headers {
					k.Headers = append(k.Headers, kafka.Header{Key: h.Key, Value: h.Value})
				}
				theirs = append(theirs, k)
			}
			var out bytes.Buffer
			set = protocol.RecordSet{Version: 2, Attributes: protocol.Attributes(c),
				Records: kafka.NewRecordReader(theirs...)}
			if _, err := set.WriteTo(&out); err != nil {
				t.Fatal(err)
			}
			b, err := readSet(out.Bytes()[4:], 0, 4)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(at(someRecords, 0), b.Records); d != "" {
				t.Errorf("ours reads kafka-go's, -want +got:\n%s", d)
			}
		})
	}
}

func byKafkaGo(t *testing.T, r protocol.RecordReader) (out []Record) {
	t.Helper()
	for {
		k, err := r.ReadRecord()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		key, err1 := kafka.ReadAll(k.Key)
		value, err2 := kafka.ReadAll(k.Value)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		r := Record{Topic: "t", Partition: 3, Offset: k.Offset, Key: key, Value: value, Time: k.Time.UTC()}
		for _, h := range k.Headers {
			r.Headers = append(r.Headers, Header{Key: h.Key, Value: h.Value})
		}
		out = append(out, r)
	}
}

func TestTake_PassesOverWhatHoldsNoRecords(t *testing.T) {
	batch := stamped(t, 10, someRecords, 0)
	control := bytes.Clone(batch)
	control[atAttributes+1] |= attrControl
	emptied := bytes.Clone(batch[:batchHead])
	binary.BigEndian.PutUint32(emptied[atLength:], batchHead-atLength-4)
	binary.BigEndian.PutUint32(emptied[atCount:], 0)
	damaged := bytes.Clone(batch)
	damaged[len(damaged)-1]++
	for _, b := range [][]byte{control, emptied} {
		resum(b)
	}
	fewer := bytes.Clone(batch)
	binary.BigEndian.PutUint32(fewer[atCount:], 5)
	resum(fewer)
	for name, row := range map[string]struct {
		set     []byte
		next    int64
		records int
		fails   error
	}{
		"a control batch to its end":                           {control, 14, 0, nil},
		"one that compaction emptied to its end":               {emptied, 14, 0, nil},
		"a last one that is cut off comes again":               {append(bytes.Clone(batch), batch[:50]...), 14, 4, nil},
		"one that is cut off alone is asked for alone":         {batch[:len(batch)-1], 10, 0, ErrCut},
		"one that fails its checksum is no answer":             {damaged, 10, 0, &DamagedError{}},
		"one with fewer records than it declares is no answer": {fewer, 10, 0, &DamagedError{}},
		"a good one before a damaged one comes first":          {append(bytes.Clone(batch), damaged2(t)...), 14, 4, nil},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := readSet(row.set, 10, 14)
			var is *DamagedError
			if want := row.fails; want == nil && err != nil || want != nil && !errors.Is(err, want) &&
				!(errors.As(want, &is) && errors.As(err, &is)) {
				t.Fatalf("error %v, want %v", err, row.fails)
			}
			if b.Next != row.next || len(b.Records) != row.records {
				t.Errorf("next %d with %d records, want %d with %d", b.Next, len(b.Records), row.next, row.records)
			}
		})
	}
}

func damaged2(t *testing.T) []byte {
	b := stamped(t, 14, someRecords, 0)
	b[len(b)-1]++
	return b
}

func resum(b []byte) {
	binary.BigEndian.PutUint32(b[atCRC:], checksum(b))
}

// Whatever a broker answers, reading it ends without a panic and never goes back.
func FuzzRead(f *testing.F) {
	for _, c := range []kafka.Compression{0, kafka.Lz4} {
		b, err := appendAll(nil, someRecords, c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, set []byte) {
		if len(set) > batchHead && set[atMagic] == 2 {
			resum(set)
		}
		u := testUnpacker(1, 10)
		u.Add(Set{All: set, Alone: true}, 0, 10, 10)
		for at := u.Next; ; at = u.Next {
			b, err := u.Take(t.Context())
			for i := range b.Records {
				if b.Records[i].Offset < at {
					t.Errorf("record %d below the offset asked for, %d", b.Records[i].Offset, at)
				}
				at = b.Records[i].Offset + 1
			}
			var damaged *DamagedError
			if errors.As(err, &damaged) && (damaged.First < u.Next || damaged.Next <= damaged.First) || err != nil &&
				damaged == nil {
				t.Errorf("at %d: %v, to go on at %d", u.Next, err, damaged.Next)
			}
			if err != nil || b.Next == at && len(b.Records) == 0 {
				break
			}
		}
	})
}

// Records as events are: nine headers, 300 bytes, a thousand in a batch of lz4. Run: go test -bench Codec -run '^$' .
func BenchmarkCodec(b *testing.B) {
	recs := make([]Record, 1000)
	for i := range recs {
		recs[i] = Record{Key: fmt.Appendf(nil, "acme/4479%08d", i), Value: bytes.Repeat([]byte{byte(i)}, 300),
			Time: time.UnixMilli(int64(i))}
		for _, name := range []string{"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time",
			"ce_dataschema", "content-type", "traceparent"} {
			recs[i].Headers = append(recs[i].Headers, Header{Key: name, Value: fmt.Appendf(nil, "value of it %d", i)})
		}
	}
	set, err := appendAll(nil, recs, kafka.Lz4)
	if err != nil {
		b.Fatal(err)
	}
	per := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(recs)), "ns/record")
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := readSet(set, 0, int64(len(recs)))
			if err != nil || len(got.Records) != len(recs) {
				b.Fatal(err)
			}
		}
		per(b)
	})
	b.Run("read by kafka-go", func(b *testing.B) {
		b.ReportAllocs()
		sized := append(binary.BigEndian.AppendUint32(nil, uint32(len(set))), set...)
		for b.Loop() {
			var rs protocol.RecordSet
			if _, err := rs.ReadFrom(bufio.NewReader(bytes.NewReader(sized))); err != nil {
				b.Fatal(err)
			}
			for {
				k, err := rs.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					break
				}
				_, err1 := kafka.ReadAll(k.Key)
				_, err2 := kafka.ReadAll(k.Value)
				if err := errors.Join(err, err1, err2, k.Key.Close(), k.Value.Close()); err != nil {
					b.Fatal(err)
				}
			}
		}
		per(b)
	})
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for b.Loop() {
			if out, err = appendAll(out[:0], recs, kafka.Lz4); err != nil {
				b.Fatal(err)
			}
		}
		per(b)
	})
	b.Run("write by kafka-go", func(b *testing.B) {
		b.ReportAllocs()
		theirs := make([]kafka.Record, len(recs))
		for b.Loop() {
			for i, r := range recs {
				theirs[i] = kafka.Record{Time: r.Time, Key: kafka.NewBytes(r.Key), Value: kafka.NewBytes(r.Value),
					Headers: make([]kafka.Header, len(r.Headers))}
				for k, h := range r.Headers {
					theirs[i].Headers[k] = kafka.Header(h)
				}
			}
			var out bytes.Buffer
			rs := protocol.RecordSet{Version: 2, Attributes: protocol.Lz4, Records: kafka.NewRecordReader(theirs...)}
			if _, err := rs.WriteTo(&out); err != nil {
				b.Fatal(err)
			}
		}
		per(b)
	})
}

// What a codec costs and saves, on records as events are: names repeat, ids do not. Run: go test -bench Compression
// -run '^$' .
func BenchmarkCompression(b *testing.B) {
	rnd := rand.NewChaCha8([32]byte{1})
	random := func(n int) string {
		raw := make([]byte, n/2)
		_, _ = rnd.Read(raw)
		return hex.EncodeToString(raw)
	}
	for _, n := range []int{20, 1000} {
		recs := make([]Record, n)
		for i := range recs {
			id, subject := random(32), fmt.Sprintf("4479%08d", rand.New(rnd).IntN(100_000_000))
			recs[i] = Record{
				Key: []byte("acme/" + subject), Time: time.UnixMilli(1_790_000_000_000 + int64(i)),
				Value: fmt.Appendf(nil,
					"\n\x20%s\x12\x09mediation\x1a\x0dusage.charged\x22\x04acme\x2a\x0c%s type.googleapis.com/tollgate.event.v1.UsageCharged EUR %d %d", id, subject, rand.New(rnd).IntN(5000), i),
				Headers: []Header{
					{"ce_specversion", []byte("1.0")}, {"ce_id", []byte(id)}, {"ce_type", []byte("usage.charged")}, {"ce_source", []byte("mediation")},
					{"ce_subject", []byte(subject)}, {"ce_time", fmt.Appendf(nil, "2026-11-29T06:00:%02d.%03dZ", i/20%60, i%1000)}, {"ce_tenant", []byte("acme")},
					{"ce_dataschema", []byte("type.googleapis.com/tollgate.event.v1.UsageCharged")}, {"content-type", []byte("application/protobuf")},
					{"traceparent", []byte("00-" + random(32) + "-" + random(16) + "-01")},
				},
			}
		}
		for _, c := range append([]kafka.Compression{0}, everyCodec...) {
			set, err := appendAll(nil, recs, c)
			if err != nil {
				b.Fatal(err)
			}
			for what, run := range map[string]func() error{
				"write": func() error { _, err := appendAll(nil, recs, c); return err },
				"read":  func() error { _, err := readSet(set, 0, int64(n)); return err },
			} {
				b.Run(fmt.Sprintf("%s/%d records/%s", c, n, what), func(b *testing.B) {
					var before, after syscall.Rusage
					err := syscall.Getrusage(syscall.RUSAGE_SELF, &before)
					for b.Loop() {
						err = errors.Join(err, run())
					}
					if err := errors.Join(err, syscall.Getrusage(syscall.RUSAGE_SELF, &after)); err != nil {
						b.Fatal(err)
					}
					used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
					b.ReportMetric(float64(used)/float64(b.N)/float64(n), "cpu-ns/record")
					b.ReportMetric(float64(len(set))/float64(n), "bytes/record")
				})
			}
		}
	}
}
