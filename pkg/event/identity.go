package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Identity names one event, one timer or one outcome for ever: 128 bits of a SHA-256. What is hashed begins with a byte
// for the kind, and every field follows its length, so that no two can be spelt alike.
type Identity [16]byte

// Fields are short; what does not fit here is hashed all the same, through the heap.
const identityScratch = 512

// Identity is the event's: it depends on tenant, source, subject and id alone, as they were sent. A producer that
// numbers its events per subscriber sends one id for several subjects, and each of them is an event of its own.
func (e *Event) Identity() Identity {
	return identityOf('e', e.Tenant, e.Source, e.Subject, e.ID)
}

// Reference names what a source calls id, of any subject: a call, which is the same one under another number of
// its subscriber, and what a refund takes back.
func Reference(tenant, source, id string) Identity {
	return identityOf('r', tenant, source, id)
}

func identityOf(kind byte, parts ...string) Identity {
	var scratch [identityScratch]byte
	b := append(scratch[:0], kind)
	for _, p := range parts {
		b = appendField(b, p)
	}
	return cut(b)
}

// TimerIdentity is that of a timer of a subject and the time it is due, to the millisecond.
func TimerIdentity(tenant, subject, timer string, due time.Time) Identity {
	var scratch [identityScratch]byte
	b := append(scratch[:0], 't')
	b = appendField(b, tenant)
	b = appendField(b, subject)
	b = appendField(b, timer)
	b = binary.BigEndian.AppendUint64(b, uint64(due.UnixMilli()))
	return cut(b)
}

// Derive is the identity of something that follows from id, distinguished by parts: of an outcome its option, kind and
// threshold.
func Derive(id Identity, parts ...string) Identity {
	var scratch [identityScratch]byte
	b := append(scratch[:0], 'd')
	b = append(b, id[:]...)
	for _, p := range parts {
		b = appendField(b, p)
	}
	return cut(b)
}

func appendField(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func cut(b []byte) Identity {
	sum := sha256.Sum256(b)
	return Identity(sum[:16])
}

// String is 32 lower-case hexadecimal digits; the id of an outcome's event.
func (id Identity) String() string { return hex.EncodeToString(id[:]) }

// Content is a hash over everything but ReceivedAt and Trace. A repeat has the same one; another event under an id that
// was used has not. Of a decoded event it is that of the bytes in the log, and therefore the same for every binary that
// ever reads them: another event is a new value, this one is not changed. Of a command it is that of what is asked for,
// type and data: a call that is repeated under the same id comes at another time, and under another number where the
// subscriber has one by then. Never 0, unless the event cannot be encoded.
func (e *Event) Content() uint64 {
	if e.content != 0 {
		return e.content
	}
	if IsCommand(e.Type) {
		return e.commandContent()
	}
	bare := *e
	bare.ReceivedAt = time.Time{}
	b, err := bare.Encode(nil)
	if err != nil {
		return 0
	}
	return nonZero(xxhash.Sum64(b))
}

func (e *Event) commandContent() uint64 {
	if e.Data == nil {
		return 0
	}
	data, err := deterministic.Marshal(e.Data)
	if err != nil {
		return 0
	}
	url := typeURLPrefix + string(e.Data.ProtoReflect().Descriptor().FullName())
	return hashCommand([]byte(e.Type), []byte(url), data)
}

// hashCommand hashes each part behind its length.
func hashCommand(parts ...[]byte) uint64 {
	var hash xxhash.Digest
	hash.Reset()
	var length [binary.MaxVarintLen64]byte
	for _, part := range parts {
		_, _ = hash.Write(length[:binary.PutUvarint(length[:], uint64(len(part)))])
		_, _ = hash.Write(part)
	}
	return nonZero(hash.Sum64())
}

func nonZero(h uint64) uint64 {
	if h == 0 {
		return 1
	}
	return h
}
