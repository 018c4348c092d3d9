package ingest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

func TestReject_KeepsRecordWithItsReason(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(f.configured())
		type sent struct {
			value  []byte
			reason string
			detail string
		}
		want := map[string]sent{"hello": {[]byte("hello"), reason.Undecodable,
			"must be a tollgate.event.v1.Event"}}
		for name, tc := range bad() {
			p := usage("bad", "447700900001", 100).Proto()
			tc.change(p)
			value, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			want[name] = sent{value, tc.reason, tc.fields[0]}
		}
		var records []stream.Record
		for name, s := range want {
			records = append(records, stream.Record{Key: []byte(name), Value: s.value,
				Headers: []stream.Header{{Key: "mine", Value: []byte(name)}}})
		}
		// Good ones of the same keys between them: nothing stops.
		for name := range want {
			records = append(records, stream.Record{Key: []byte(name),
				Value: bytesOf(t, usage("good "+name, "447700900001", 100))})
		}
		results := f.produce(records...)
		offsets := map[string]stream.ProduceResult{}
		for i := range want {
			for n, rec := range records[:len(want)] {
				if string(rec.Key) == i {
					offsets[i] = results[n]
				}
			}
		}
		for _, rec := range f.read(stream.EventsRejected, len(want)) {
			name := string(rec.Key)
			h := headersOf(rec)
			s, ok := want[name]
			if !ok {
				t.Errorf("%q was not sent, or is there twice", name)
				continue
			}
			delete(want, name)
			if !bytes.Equal(rec.Value, s.value) || h["mine"] != name {
				t.Errorf("%s: not as received: %d bytes of %d, %v", name, len(rec.Value), len(s.value), h)
			}
			if h[event.HeaderReason] != s.reason || !strings.Contains(h[event.HeaderDetail], s.detail) {
				t.Errorf("%s: %s: %s", name, h[event.HeaderReason], h[event.HeaderDetail])
			}
			at := offsets[name]
			if h[event.HeaderTopic] != f.client.Topic(stream.EventsInbound) ||
				h[event.HeaderPartition] != fmt.Sprint(at.Partition) || h[event.HeaderOffset] != fmt.Sprint(at.Offset) {
				t.Errorf("%s: was at %+v, headers %v", name, at, h)
			}
		}
		if len(want) > 0 {
			t.Errorf("lost: %v", want)
		}
		good := map[string]bool{}
		for _, rec := range f.read(stream.EventsOrdered, len(records)/2) {
			good[headersOf(rec)[event.HeaderID]] = true
		}
		if len(good) != len(records)/2 {
			t.Errorf("%d good events came through, %d were sent", len(good), len(records)/2)
		}
		lines := r.logs.FilterMessage("event rejected").All()
		if len(lines) != len(records)/2 {
			t.Errorf("%d lines for %d rejections", len(lines), len(records)/2)
		}
		for _, l := range lines {
			if text := fmt.Sprint(l.ContextMap()); strings.Contains(text, "447700900001") {
				t.Errorf("a line names a person: %s", text)
			}
		}
	})
}

func TestReject_OversizedKeepsHash(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		f.start(nil)
		// Compressed it is small enough for any topic.
		f.produce(stream.Record{Value: bytes.Repeat([]byte("x"), event.RejectedMax+1)})
		rec := f.read(stream.EventsRejected, 1)[0]
		h := headersOf(rec)
		if len(rec.Value) != event.RejectedKept || len(h[event.HeaderSHA256]) != 64 ||
			h[event.HeaderSize] != fmt.Sprint(event.RejectedMax+1) || h[event.HeaderReason] != reason.TooLarge {
			t.Errorf("%d bytes, %v", len(rec.Value), h)
		}
	})
}

// A producer makes as many records that are rejected as it likes: each is kept and counted, and the log has some of them.
func TestReject_LogOfAFloodIsBoundedWithACount(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		const n = 3000
		r := f.start(nil)
		flood := make([]stream.Record, n)
		for i := range flood {
			flood[i] = stream.Record{Partition: int32(i % 3), Value: []byte("hello")}
		}
		began := time.Now()
		f.produce(flood...)
		f.read(stream.EventsRejected, n)
		lines, omitted := 0, int64(0)
		f.until("every rejection is logged or counted as omitted", func() bool {
			lines, omitted = r.logs.FilterMessage("event rejected").Len(), 0
			for _, l := range r.logs.FilterMessage("lines omitted").All() {
				if l.ContextMap()["of"] == "event rejected" {
					omitted += l.ContextMap()["omitted"].(int64)
				}
			}
			return int64(lines)+omitted == n
		})
		if most := linesPerSecond * (int(time.Since(began)/time.Second) + 1); lines > most {
			t.Errorf("%d lines, at most %d", lines, most)
		}
	})
}

// The same of each transport, in time that the test makes.
func TestRejections_AreLoggedAtABoundedRateWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		l := newRejections(zap.New(core), "http")
		err := fault.New(fault.Invalid, reason.Undecodable, "nothing")
		for range 3000 {
			l.write(nil, err, stream.Record{})
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		omitted := logs.FilterMessage("lines omitted").All()
		if got := logs.FilterMessage("event rejected").Len(); got != linesPerSecond || len(omitted) != 1 ||
			omitted[0].ContextMap()["omitted"] != int64(3000-linesPerSecond) {
			t.Errorf("%d lines, %v", got, omitted)
		}
	})
}
