package state

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/wire"
)

// Token distinguishes the owners of a partition; drawn at random by each open.
type Token [16]byte

// Status is how far a partition's state can be trusted.
type Status uint8

const (
	// Blank: the store knew nothing of it; the state must be found or begun.
	Blank Status = iota
	// Restoring: a snapshot is being read in; after a crash it begins again.
	Restoring
	// Rebuilding: the log below the published offset is applied again without publishing.
	Rebuilding
	// Ready: the state is that of the log up to the offset.
	Ready
)

func (s Status) String() string {
	return [...]string{"blank", "restoring", "rebuilding", "ready"}[s]
}

// Watermark is where a partition's state stands, and its fence: each commit names the one before, byte for byte.
type Watermark struct {
	Token Token
	// Before is the token that Open replaced, zero where there was none. It is returned by Open alone and not stored.
	Before Token
	// Address of the owner's gRPC server, for those who forward to it.
	Address string
	Status  Status
	// Epoch counts the logs this partition has had: an accepted gap that begins a log anew raises it, and records of an
	// earlier epoch have no applied offset.
	Epoch uint32
	// Offset of the next record to apply.
	Offset int64
	// PublishedOffset: outcomes of what lies below were published and are not published again.
	PublishedOffset int64
	// LogTime is the highest record timestamp met, in ms of the Unix epoch.
	LogTime int64
	// Revision of the configuration in force, and level of the logic.
	Revision Revision
	Level    uint32
	// LastHash is of the record before Offset: it distinguishes a log that was made anew from one that goes on. 0 where there
	// is none.
	LastHash uint64
	// DueMinute is the minute whose due list is worked next, DuePosition how far in it, in bytes.
	DueMinute   int64
	DuePosition int64
	// SnapshotAt is when the last complete snapshot ended, in ms, and SnapshotOffset what it reaches to.
	SnapshotAt, SnapshotOffset int64
	// Disowned is a group's offset that an accepted gap has invalidated: one of another log. 0 where there is none.
	Disowned int64
	// At is the owner's clock at the commit, in ms: the lease.
	At int64
	// Serial counts commits, so that no two watermarks are alike.
	Serial uint64
	// Called is the number of the last call applied; calls that come up with one not above it are superseded.
	Called uint64
	// Extra is stored with it for services that need more.
	Extra []byte
}

const watermarkFormat = 4

// The token and the address stand in front, so that a store's open can replace them without knowing the rest: 16 bytes,
// one byte of length, the address.

// Head encodes what an open replaces.
func (w *Watermark) Head() []byte {
	b := make([]byte, 0, 17+len(w.Address))
	b = append(b, w.Token[:]...)
	b = append(b, byte(len(w.Address)))
	return append(b, w.Address...)
}

// Encode returns the watermark's bytes.
func (w *Watermark) Encode() []byte {
	b := w.Head()
	b = append(b, watermarkFormat, byte(w.Status))
	for _, v := range [...]uint64{
		uint64(w.Epoch), uint64(w.Offset), uint64(w.PublishedOffset), uint64(w.LogTime), uint64(w.Revision.Number), w.Revision.History, uint64(w.Level),
		w.LastHash, uint64(w.DueMinute), uint64(w.DuePosition),
		uint64(w.SnapshotAt), uint64(w.SnapshotOffset), uint64(w.Disowned), uint64(w.At), w.Serial, w.Called,
	} {
		b = binary.AppendUvarint(b, v)
	}
	return append(b, w.Extra...)
}

// FormatError reports that another version of Tollgate wrote what stands in a store, or on a topic. Nothing is read of it:
// an id of the one means nothing to the other.
type FormatError struct {
	What       string
	Has, Knows byte
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has format %d, this binary reads %d: run the version of Tollgate that wrote it, or begin anew, with topics and a redis.prefix that nothing was written to", e.What, e.Has, e.Knows)
}

// DecodeWatermark reads what Encode wrote; *FormatError where another version did.
func DecodeWatermark(b []byte) (Watermark, error) {
	var w Watermark
	if len(b) < 17 || len(b) < 17+int(b[16]) {
		return w, errors.New("watermark is cut short")
	}
	copy(w.Token[:], b)
	n := 17 + int(b[16])
	w.Address = string(b[17:n])
	b = b[n:]
	if len(b) < 2 {
		return w, errors.New("watermark is cut short")
	}
	if b[0] != watermarkFormat {
		return w, &FormatError{What: "a partition's watermark", Has: b[0], Knows: watermarkFormat}
	}
	if Status(b[1]) > Ready {
		return w, errors.New("watermark has an unknown status")
	}
	w.Status = Status(b[1])
	r := wire.Reader{Rest: b[2:]}
	w.Epoch = uint32(r.Uvarint())
	w.Offset = int64(r.Uvarint())
	w.PublishedOffset = int64(r.Uvarint())
	w.LogTime = int64(r.Uvarint())
	w.Revision = Revision{Number: int64(r.Uvarint()), History: r.Uvarint()}
	w.Level = uint32(r.Uvarint())
	w.LastHash = r.Uvarint()
	w.DueMinute = int64(r.Uvarint())
	w.DuePosition = int64(r.Uvarint())
	w.SnapshotAt = int64(r.Uvarint())
	w.SnapshotOffset = int64(r.Uvarint())
	w.Disowned = int64(r.Uvarint())
	w.At = int64(r.Uvarint())
	w.Serial = r.Uvarint()
	w.Called = r.Uvarint()
	if r.Bad {
		return w, errors.New("watermark is cut short")
	}
	if len(r.Rest) > 0 {
		w.Extra = r.Rest
	}
	return w, nil
}

// NewToken draws one.
func NewToken() Token {
	var t Token
	rand.Read(t[:])
	return t
}
