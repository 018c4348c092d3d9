package delivery

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// IDPrefix begins the id of every delivery.
const IDPrefix = "dlv_"

// IDAlphabet is base32hex of RFC 4648 in lower case: ids sort as bytes in the order of their times.
var IDAlphabet = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID derives the id of a delivery: "dlv_" and 26 characters of base32hex in lower case, over 48 bits of t in
// milliseconds and 80 bits of a SHA-256 over the length-prefixed rest. It is not random: the same event planned again
// has the same ids. The subject is the event's, since events of several subjects may share an id.
//
// t is the time of the event, or the due time of the timer that fired. Firing distinguishes the firings of one
// notification for one event: the value of a threshold, the due time of a timer, or empty. Recipient is the resource
// name of the endpoint, or an address.
func NewID(t time.Time, tenant, source, subject, eventID, notification, action, firing, recipient string) string {
	parts := [...]string{tenant, source, subject, eventID, notification, action, firing, recipient}
	buf := make([]byte, 0, 256)
	for _, p := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	sum := sha256.Sum256(buf)

	var raw [16]byte
	// Times before 1970 share one value here; the hash still distinguishes them.
	ms := uint64(max(t.UnixMilli(), 0))
	binary.BigEndian.PutUint64(raw[:8], ms<<16)
	copy(raw[6:], sum[:10])

	id := make([]byte, len(IDPrefix), len(IDPrefix)+26)
	copy(id, IDPrefix)
	return string(IDAlphabet.AppendEncode(id, raw[:]))
}

// TimeOf is the time in the id of a delivery, to the millisecond; false where id is none.
func TimeOf(id string) (time.Time, bool) {
	text, ok := strings.CutPrefix(id, IDPrefix)
	raw, err := IDAlphabet.DecodeString(text)
	if !ok || err != nil || len(raw) != 16 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(raw) >> 16)).UTC(), true
}
