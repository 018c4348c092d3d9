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

// SmallBatch is what a batch may unpack to without asking for a share of the
// process's memory.
const SmallBatch = 1 << 20

// errNoRoom reports that what is unpacked does not fit.
var errNoRoom = errors.New("unpacks to more than there is room for")

var (
	smallBuffers = sync.Pool{New: func() any { return new([]byte) }}
	largeBuffers sync.Pool // of a size that is settable
	gzipReaders  sync.Pool
	lz4Readers   sync.Pool
)

// unpackSmall unpacks what fits into SmallBatch, into bytes of its own size:
// records keep them. Otherwise it is errNoRoom.
func unpackSmall(in []byte, c kafka.Compression) ([]byte, error) {
	buf, _ := smallBuffers.Get().(*[]byte)
	defer smallBuffers.Put(buf)
	if *buf == nil {
		*buf = make([]byte, 0, SmallBatch)
	}
	out, err := unpack((*buf)[:0:SmallBatch], in, c)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(out), nil
}

// unpackLarge is unpackSmall for up to limit bytes.
func unpackLarge(in []byte, c kafka.Compression, limit int) ([]byte, error) {
	buf, _ := largeBuffers.Get().([]byte)
	if cap(buf) < limit {
		buf = make([]byte, 0, limit)
	}
	out, err := unpack(buf[:0:limit], in, c)
	if err == nil && len(out) > limit/2 {
		return out, nil // the buffer goes with it
	}
	defer largeBuffers.Put(buf[:0]) //nolint:staticcheck // one small allocation for many MiB
	if err != nil {
		return nil, err
	}
	return bytes.Clone(out), nil
}

// unpack fills dst up to its capacity with all that in holds. What follows the
// end of the compressed data is an error.
func unpack(dst, in []byte, c kafka.Compression) (out []byte, err error) {
	switch c {
	case kafka.Gzip:
		r := bytes.NewReader(in)
		z, ok := gzipReaders.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		defer gzipReaders.Put(z)
		if err := z.Reset(r); err != nil {
			return nil, err
		}
		return fill(dst, z)
	case kafka.Lz4:
		r := bytes.NewReader(in)
		z, ok := lz4Readers.Get().(*lz4.Reader)
		if !ok {
			z = lz4.NewReader(nil)
		}
		defer func() {
			z.Reset(nil)
			lz4Readers.Put(z)
		}()
		z.Reset(r)
		if out, err = fill(dst, z); err == nil && r.Len() > 0 {
			err = fmt.Errorf("%d bytes follow the end of the data", r.Len())
		}
		return out, err
	case kafka.Snappy:
		return unpackSnappy(dst, in)
	case kafka.Zstd:
		z, err := zstdDecoder()
		if err != nil {
			return nil, err
		}
		out, err := z.DecodeAll(in, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			err = errNoRoom
		}
		return out, err
	}
	return nil, fmt.Errorf("unknown compression %d", c)
}

// fill reads r to its end.
func fill(dst []byte, r io.Reader) ([]byte, error) {
	for idle := 0; len(dst) < cap(dst); {
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return nil, err
		case n > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return nil, io.ErrNoProgress
			}
		}
	}
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return nil, errNoRoom
	case errors.Is(err, io.EOF):
		return dst, nil
	default:
		return nil, err
	}
}

// zstdDecoder decodes whole inputs into the room that there is: a window, which
// an input may claim to be of any size, needs no memory beside it.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxWindow(1<<31))
})

// xerial begins what Java's snappy streams write: blocks with their lengths.
// Other clients write a single block without it.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// xerialHead is the magic and two versions.
const xerialHead = 16

func unpackSnappy(dst, in []byte) ([]byte, error) {
	if !bytes.HasPrefix(in, xerial) {
		return unpackBlock(dst, in)
	}
	if len(in) < xerialHead {
		return nil, io.ErrUnexpectedEOF
	}
	for in = in[xerialHead:]; len(in) > 0; {
		if len(in) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		size := int64(binary.BigEndian.Uint32(in))
		if in = in[4:]; size > int64(len(in)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = unpackBlock(dst, in[:size]); err != nil {
			return nil, err
		}
		in = in[size:]
	}
	return dst, nil
}

func unpackBlock(dst, block []byte) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > cap(dst)-len(dst) {
		return nil, errNoRoom
	}
	end := len(dst) + n
	if _, err := snappy.Decode(dst[len(dst):end:end], block); err != nil {
		return nil, err
	}
	return dst[:end], nil
}
