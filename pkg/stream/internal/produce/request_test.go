package produce

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// produceAnswer is the body of an answer about t/0, whose second record is refused.
func produceAnswer() []byte {
	be := binary.BigEndian
	b := be.AppendUint32(nil, 1)            // topic
	b = codec.AppendString(b, "t")          //
	b = be.AppendUint32(b, 1)               // partition
	b = be.AppendUint32(b, 0)               // its number
	b = be.AppendUint16(b, 87)              // error
	b = be.AppendUint64(b, 7)               // base offset
	b = append(b, make([]byte, 16)...)      // append time, log start
	b = be.AppendUint32(b, 1)               // refused record
	b = be.AppendUint32(b, 1)               // its index
	b = codec.AppendString(b, "bad record") //
	return codec.AppendString(b, "bad batch")
}

func TestReadProduce_TakesEveryField(t *testing.T) {
	load := []*partitionBatch{{topic: "t"}}
	if err := readProduce(produceAnswer(), load); err != nil {
		t.Fatal(err)
	}
	x := load[0]
	if want := kafka.Error(87).Error() + ": bad batch"; x.base != 7 || !slices.Equal(x.refused, []int32{1}) ||
		x.err == nil || x.err.Error() != want {
		t.Errorf("read base %d, refused records %v, error %v", x.base, x.refused, x.err)
	}
}

// Whatever a broker answers, reading it ends without a panic.
func FuzzReadProduce(f *testing.F) {
	body := produceAnswer()
	for n := range len(body) + 1 {
		f.Add(body[:n])
	}
	f.Fuzz(func(_ *testing.T, body []byte) { _ = readProduce(body, []*partitionBatch{{topic: "t"}}) })
}
