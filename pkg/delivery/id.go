package delivery

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// idPrefix stands before every delivery's id.
const idPrefix = "dlv_"

// idAlphabet is that of RFC 4648's base32hex in lower case: ids sort as bytes
// the way their times do.
var idAlphabet = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewID derives the id of a delivery: "dlv_" and 26 characters of base32hex in
// lower case, over 48 bits of t in milliseconds and 80 bits of a SHA-256 over
// the length-prefixed rest. It is never drawn: the same event planned again has
// the same ids. The subject is the event's: one id may be sent for several.
//
// t is the event's time, or the due time of the timer that fired. Firing tells
// one firing of a notification from another for the same event: a threshold's
// value, a timer's due time, or empty. Recipient is the endpoint's resource
// name, or an address.
func NewID(t time.Time, tenant, source, subject, eventID, notification, action, firing, recipient string) string {
	parts := [...]string{tenant, source, subject, eventID, notification, action, firing, recipient}
	buf := make([]byte, 0, 256)
	for _, p := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(p)))
		buf = append(buf, p...)
	}
	sum := sha256.Sum256(buf)

	var raw [16]byte
	// Times before 1970 can't be told apart here; the hash still can.
	ms := uint64(max(t.UnixMilli(), 0))
	binary.BigEndian.PutUint64(raw[:8], ms<<16)
	copy(raw[6:], sum[:10])

	id := make([]byte, len(idPrefix), len(idPrefix)+26)
	copy(id, idPrefix)
	return string(idAlphabet.AppendEncode(id, raw[:]))
}
