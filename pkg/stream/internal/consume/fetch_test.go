package consume

import (
	"encoding/binary"
	"testing"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// fetchAnswer is the body of an answer to a fetch of t/0 that has an aborted transaction and five bytes of records.
func fetchAnswer() []byte {
	be := binary.BigEndian
	b := be.AppendUint64(nil, 0)                  // throttle time, error, half of the session
	b = be.AppendUint16(b, 0)                     // the other half
	b = be.AppendUint32(b, 1)                     // topic
	b = codec.AppendString(b, "t")                //
	b = be.AppendUint32(b, 1)                     // partition
	b = be.AppendUint32(b, 0)                     // its number
	b = be.AppendUint16(b, 0)                     // error
	b = be.AppendUint64(b, 9)                     // high watermark
	b = be.AppendUint64(b, 8)                     // last stable offset
	b = be.AppendUint64(b, 0)                     // log start
	b = be.AppendUint32(b, 1)                     // aborted transaction
	b = be.AppendUint64(be.AppendUint64(b, 3), 2) // producer, first offset
	b = be.AppendUint32(b, ^uint32(0))            // preferred replica
	return append(be.AppendUint32(b, 5), "bytes"...)
}

func TestReadFetch_TakesEveryField(t *testing.T) {
	parts := []fetchPart{{topic: "t"}}
	if err := readFetch(fetchAnswer(), parts); err != nil || parts[0].err != nil {
		t.Fatal(err, parts[0].err)
	}
	p := parts[0]
	if p.high != 9 || p.end != 8 || p.start != 0 || string(p.All) != "bytes" || len(p.Aborted) != 1 ||
		p.Aborted[0] != (codec.Aborted{Producer: 3, First: 2}) {
		t.Errorf("read %+v", p)
	}
}

// Whatever a broker answers, reading it ends without a panic.
func FuzzReadFetch(f *testing.F) {
	body := fetchAnswer()
	for n := range len(body) + 1 {
		f.Add(body[:n])
	}
	f.Fuzz(func(_ *testing.T, body []byte) { _ = readFetch(body, []fetchPart{{topic: "t"}}) })
}
