package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/segmentio/kafka-go"
)

// Each codec is at its fastest: a batch is written while an event waits.
var (
	gzipWriters = sync.Pool{New: func() any {
		z, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		return must(z, err)
	}}
	// Blocks of 64 KiB: for the default of 4 MiB every reader and writer, ours and the broker's, keeps buffers of that
	// size and clears them, however small a batch is. They cost a few per cent in size and take a third less time.
	lz4Writers = sync.Pool{New: func() any {
		z := lz4.NewWriter(nil)
		return must(z, z.Apply(lz4.BlockSizeOption(lz4.Block64Kb)))
	}}
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
		return must(z, err)
	})
)

// must is for options that are constants.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pack appends raw to b, compressed.
func pack(b, raw []byte, c kafka.Compression) ([]byte, error) {
	switch c {
	case 0:
		return append(b, raw...), nil
	case kafka.Gzip:
		z, _ := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(z)
		return packBy(b, raw, z)
	case kafka.Lz4:
		z, _ := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(z)
		return packBy(b, raw, z)
	case kafka.Zstd:
		return zstdEncoder().EncodeAll(raw, b), nil
	case kafka.Snappy:
		return packSnappy(b, raw), nil
	}
	return nil, fmt.Errorf("unknown compression %d", c)
}

func packBy(b, raw []byte, z interface {
	io.WriteCloser
	Reset(w io.Writer)
}) ([]byte, error) {
	out := bytes.NewBuffer(b)
	z.Reset(out)
	_, err := z.Write(raw)
	err = errors.Join(err, z.Close())
	z.Reset(nil)
	return out.Bytes(), err
}

// xerialBlock is what Java's snappy streams put into a block.
const xerialBlock = 32 << 10

// packSnappy frames blocks as the snappy streams of Java do, which clients in other languages read too.
func packSnappy(b, raw []byte) []byte {
	b = append(b, xerial...)
	b = binary.BigEndian.AppendUint32(b, 1) // version
	b = binary.BigEndian.AppendUint32(b, 1) // oldest version that reads it
	for len(raw) > 0 {
		n := min(len(raw), xerialBlock)
		block := snappy.Encode(nil, raw[:n])
		b = binary.BigEndian.AppendUint32(b, uint32(len(block)))
		b = append(b, block...)
		raw = raw[n:]
	}
	return b
}
