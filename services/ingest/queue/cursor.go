package queue

import (
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/wire"
)

// A cursor names one sending of an event, and how far the log had been sent by then. It is text: a head of 30 bytes in
// base64, and behind it the positions in base64, which all events of a response share. Integers are big-endian.
//
//	0  check of the other bytes of the head (2 bytes)
//	2  subscription (6): hash of tenant and name
//	8  stream (6): its id
//	14 sequence number of the sending (6)
//	20 topic (1), partition (3), offset (6) of the event
//
// Positions: for each topic that is read its number, the number of its partitions, and of each the first offset that was
// not sent; all of them varints.
const (
	cursorHead = 30
	headText   = cursorHead / 3 * 4
	// maxCursor is longer than that of 1,000 partitions.
	maxCursor = 16 << 10
)

type (
	subscriptionID [6]byte
	streamID       [6]byte
)

func (id streamID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// place is a record.
type place struct {
	topic     uint8
	partition int32
	offset    int64
}

type cursor struct {
	subscription subscriptionID
	stream       streamID
	seq          uint64
	event        place
	// positions has for each topic that is read the first offset of each partition that was not sent.
	positions map[uint8][]int64
}

// appendHead writes the beginning of a cursor as text.
func appendHead(b []byte, c *cursor) []byte {
	var h [cursorHead]byte
	copy(h[2:], c.subscription[:])
	copy(h[8:], c.stream[:])
	put48(h[14:], c.seq)
	h[20] = c.event.topic
	h[21], h[22], h[23] = byte(c.event.partition>>16), byte(c.event.partition>>8), byte(c.event.partition)
	put48(h[24:], uint64(c.event.offset))
	binary.BigEndian.PutUint16(h[:], uint16(xxhash.Sum64(h[2:])))
	return base64.RawURLEncoding.AppendEncode(b, h[:])
}

// appendTopic begins the positions of a topic with n partitions; they follow as varints.
func appendTopic(b []byte, topic uint8, n int) []byte {
	return binary.AppendUvarint(append(b, topic), uint64(n))
}

func put48(b []byte, v uint64) {
	b[0], b[1], b[2], b[3], b[4], b[5] = byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

func get48(b []byte) uint64 {
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}

var errNoCursor = errors.New("is no cursor of this service")

// parseCursor reads a cursor without its positions.
func parseCursor(text string) (c cursor, err error) {
	if len(text) < headText || len(text) > maxCursor {
		return c, errNoCursor
	}
	var room [cursorHead]byte
	h, err := base64.RawURLEncoding.AppendDecode(room[:0], []byte(text[:headText]))
	if err != nil || len(h) != cursorHead || binary.BigEndian.Uint16(h) != uint16(xxhash.Sum64(h[2:])) {
		return c, errNoCursor
	}
	copy(c.subscription[:], h[2:])
	copy(c.stream[:], h[8:])
	c.seq = get48(h[14:])
	c.event = place{h[20], int32(h[21])<<16 | int32(h[22])<<8 | int32(h[23]), int64(get48(h[24:]))}
	return c, nil
}

// parsePositions reads the whole of a cursor.
func parsePositions(text string) (c cursor, err error) {
	if c, err = parseCursor(text); err != nil {
		return c, err
	}
	raw, err := base64.RawURLEncoding.DecodeString(text[headText:])
	if err != nil {
		return c, errNoCursor
	}
	c.positions = map[uint8][]int64{}
	r := wire.Reader{Rest: raw}
	for len(r.Rest) > 0 && !r.Bad {
		topic := r.Byte()
		positions := make([]int64, 0, min(r.Count(), uint64(len(raw))))
		for range cap(positions) {
			positions = append(positions, int64(r.Uvarint()))
		}
		c.positions[topic] = positions
	}
	if !r.Done() {
		return c, errNoCursor
	}
	return c, nil
}
