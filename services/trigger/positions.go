package trigger

import (
	"cmp"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
)

// positionKept is how long, in log time, a position is remembered after its last use. A later delivery begins again at 1.
const positionKept = 90 * 24 * time.Hour

// maxPositions is how many a subject may have: its record is written whole, in a commit of 1 MiB. Beyond it the one
// unused for longest is forgotten early. One event uses half as many at most.
const maxPositions = 4000

// position is the last delivery of an ordering key to a subject. The topic is the engine's.
type position struct {
	// key is that of channel.Recipient. It has no tenant: subjects and their targets are of one tenant.
	key string
	// sequence and delivery are those assigned last; used is the log time of it.
	sequence int64
	delivery string
	used     time.Time
}

// positions are those of one subject, sorted by key: what its record has.
type positions []position

func (ps positions) find(key string) (int, bool) {
	return slices.BinarySearchFunc(ps, key, func(p position, key string) int { return cmp.Compare(p.key, key) })
}

// next is the position of the next delivery of a key.
func (ps positions) next(key string) channel.Position {
	i, ok := ps.find(key)
	if !ok {
		return channel.Position{Sequence: 1}
	}
	return channel.Position{Sequence: ps[i].sequence + 1, Previous: ps[i].delivery}
}

// take assigns that position to a delivery. It changes ps where the key is known.
func (ps positions) take(key, delivery string, at time.Time) positions {
	i, ok := ps.find(key)
	if !ok {
		if len(ps) >= maxPositions {
			oldest := 0
			for j := range ps {
				if ps[j].used.Before(ps[oldest].used) {
					oldest = j
				}
			}
			ps = slices.Delete(ps, oldest, oldest+1)
			i, _ = ps.find(key)
		}
		ps = slices.Insert(ps, i, position{key: key})
	}
	ps[i].sequence++
	ps[i].delivery, ps[i].used = delivery, at
	return ps
}

// keep returns the positions that are still remembered at a time.
func (ps positions) keep(at time.Time) positions {
	var kept positions
	for _, p := range ps {
		if p.used.Add(positionKept).After(at) {
			kept = append(kept, p)
		}
	}
	return kept
}

// forget is the time at which the first of the positions is forgotten.
func (ps positions) forget() time.Time {
	var first time.Time
	for _, p := range ps {
		if due := p.used.Add(positionKept); first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}

// positionsFormat is the first byte of the encoding that follows: the number of positions; of each the key behind its
// length, the sequence, the 16 bytes of the delivery's id, the ms of the last use. Numbers are uvarints.
const positionsFormat = 2

func (ps positions) append(dst []byte) []byte {
	dst = append(dst, positionsFormat)
	dst = binary.AppendUvarint(dst, uint64(len(ps)))
	for _, p := range ps {
		dst = binary.AppendUvarint(dst, uint64(len(p.key)))
		dst = append(dst, p.key...)
		dst = binary.AppendUvarint(dst, uint64(p.sequence))
		dst = append(dst, packID(p.delivery)...)
		dst = binary.AppendUvarint(dst, uint64(p.used.UnixMilli()))
	}
	return dst
}

var errPositions = errors.New("positions of a subject are cut short or of another format")

func decodePositions(b []byte) (positions, error) {
	if len(b) == 0 || b[0] != positionsFormat {
		return nil, errPositions
	}
	b = b[1:]
	bad := false
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			bad, b = true, nil
			return 0
		}
		b = b[n:]
		return v
	}
	bytes := func(n uint64) string {
		if uint64(len(b)) < n {
			bad, b = true, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	count := number()
	if count > uint64(len(b)) {
		return nil, errPositions
	}
	ps := make(positions, 0, count)
	for range count {
		p := position{key: bytes(number())}
		p.sequence = int64(number())
		p.delivery = unpackID(bytes(idBytes))
		p.used = time.UnixMilli(int64(number())).UTC()
		ps = append(ps, p)
	}
	if bad || len(b) > 0 {
		return nil, fmt.Errorf("%d positions: %w", count, errPositions)
	}
	return ps, nil
}

// A delivery's id is 128 bits in base32 behind a prefix; the record keeps the bits.
const (
	idPrefix = "dlv_"
	idBytes  = 16
)

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

func packID(id string) []byte {
	raw, err := idEncoding.DecodeString(strings.TrimPrefix(id, idPrefix))
	if err != nil || len(raw) != idBytes {
		panic(fmt.Sprintf("trigger: %q is not the id of a delivery", id))
	}
	return raw
}

func unpackID(raw string) string { return idPrefix + idEncoding.EncodeToString([]byte(raw)) }
