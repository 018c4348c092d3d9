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

	"github.com/tollgate/tollgate/pkg/rules"
)

// laneKept is how long, by the log, a lane is remembered after its last use. A later delivery begins anew at 1.
const laneKept = 90 * 24 * time.Hour

// maxLanes is how many a subject may have: its record is written whole, in a commit of 1 MiB. Beyond it the one that was
// used longest ago is forgotten early. One event uses half as many at most.
const maxLanes = 4000

// lane is where an endpoint stands with a subject. The topic, the lane's third part, is the engine's.
type lane struct {
	// endpoint is the id, without the tenant: subjects and their endpoints are of one tenant.
	endpoint string
	// sequence and delivery are those given out last; used is when, by the log.
	sequence int64
	delivery string
	used     time.Time
}

// lanes are those of one subject, sorted by endpoint: the body of its record.
type lanes []lane

func (ls lanes) find(endpoint string) (int, bool) {
	return slices.BinarySearchFunc(ls, endpoint, func(l lane, id string) int { return cmp.Compare(l.endpoint, id) })
}

// next is the place that the next delivery to an endpoint takes.
func (ls lanes) next(endpoint string) rules.Lane {
	i, ok := ls.find(endpoint)
	if !ok {
		return rules.Lane{Sequence: 1}
	}
	return rules.Lane{Sequence: ls[i].sequence + 1, Previous: ls[i].delivery}
}

// take gives that place to a delivery, in place where the lane is there.
func (ls lanes) take(endpoint, delivery string, at time.Time) lanes {
	i, ok := ls.find(endpoint)
	if !ok {
		if len(ls) >= maxLanes {
			oldest := 0
			for j := range ls {
				if ls[j].used.Before(ls[oldest].used) {
					oldest = j
				}
			}
			ls = slices.Delete(ls, oldest, oldest+1)
			i, _ = ls.find(endpoint)
		}
		ls = slices.Insert(ls, i, lane{endpoint: endpoint})
	}
	ls[i].sequence++
	ls[i].delivery, ls[i].used = delivery, at
	return ls
}

// keep is the lanes that are still remembered at a time.
func (ls lanes) keep(at time.Time) lanes {
	var kept lanes
	for _, l := range ls {
		if l.used.Add(laneKept).After(at) {
			kept = append(kept, l)
		}
	}
	return kept
}

// forget is when the first of the lanes is forgotten.
func (ls lanes) forget() time.Time {
	var first time.Time
	for _, l := range ls {
		if due := l.used.Add(laneKept); first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}

// lanesFormat is the first byte of the encoding that follows: the number of lanes; of each the endpoint behind its
// length, the sequence, the 16 bytes of the delivery's id, the ms of the last use. Numbers are uvarints.
const lanesFormat = 1

func (ls lanes) append(dst []byte) []byte {
	dst = append(dst, lanesFormat)
	dst = binary.AppendUvarint(dst, uint64(len(ls)))
	for _, l := range ls {
		dst = binary.AppendUvarint(dst, uint64(len(l.endpoint)))
		dst = append(dst, l.endpoint...)
		dst = binary.AppendUvarint(dst, uint64(l.sequence))
		dst = append(dst, packID(l.delivery)...)
		dst = binary.AppendUvarint(dst, uint64(l.used.UnixMilli()))
	}
	return dst
}

var errLanes = errors.New("lanes of a subject are cut short or of another format")

func decodeLanes(b []byte) (lanes, error) {
	if len(b) == 0 || b[0] != lanesFormat {
		return nil, errLanes
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
		return nil, errLanes
	}
	ls := make(lanes, 0, count)
	for range count {
		l := lane{endpoint: bytes(number())}
		l.sequence = int64(number())
		l.delivery = unpackID(bytes(idBytes))
		l.used = time.UnixMilli(int64(number())).UTC()
		ls = append(ls, l)
	}
	if bad || len(b) > 0 {
		return nil, fmt.Errorf("%d lanes: %w", count, errLanes)
	}
	return ls, nil
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
