package wire

import "encoding/binary"

// Reader takes values off the front of a record of our own. What is cut short or not written the shortest way makes it
// bad, and bad it stays: every value read from there on is zero.
type Reader struct {
	// Rest is what has not been read.
	Rest []byte
	Bad  bool
}

// Fail makes it bad.
func (r *Reader) Fail() { r.Bad, r.Rest = true, nil }

// Done reports that all was read, and nothing was bad.
func (r *Reader) Done() bool { return !r.Bad && len(r.Rest) == 0 }

// Uvarint reads what binary.AppendUvarint wrote.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.Rest)
	if n <= 0 || n > 1 && r.Rest[n-1] == 0 { // a zero at the end is one byte too many
		r.Fail()
		return 0
	}
	r.Rest = r.Rest[n:]
	return v
}

// Varint reads what binary.AppendVarint wrote.
func (r *Reader) Varint() int64 {
	v := r.Uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// Count is how many of something follow, each of a byte or more: never more than there are bytes.
func (r *Reader) Count() uint64 {
	n := r.Uvarint()
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return 0
	}
	return n
}

// Bytes are the next n, and share the record's memory.
func (r *Reader) Bytes(n uint64) []byte {
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return nil
	}
	v := r.Rest[:n:n]
	r.Rest = r.Rest[n:]
	return v
}

// Text reads a length and as many bytes.
func (r *Reader) Text() string { return string(r.Bytes(r.Uvarint())) }

// Byte reads one.
func (r *Reader) Byte() byte {
	if len(r.Rest) == 0 {
		r.Fail()
		return 0
	}
	v := r.Rest[0]
	r.Rest = r.Rest[1:]
	return v
}
