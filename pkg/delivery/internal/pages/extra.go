package pages

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/wire"
)

// Extra is stored in the watermark beside the position.
type Extra struct {
	// Pages is how many pages of references there may be, Records how many records of endpoints.
	Pages   int
	Records int32
	// Attempts is the offset from which an opening reads the attempts of the partition: results may have been published
	// that are not in the store.
	Attempts int64
	// AttemptsHash is the hash of the record before it, 0 where that is not known; it detects that the topic was
	// created again.
	AttemptsHash uint64
	// Owner is the owner before that offset where a snapshot was restored, zero otherwise.
	Owner state.Token
}

// format is the format of Extra and of the pages.
const format = 5

// Encode returns the bytes for the watermark.
func (e Extra) Encode() []byte {
	b := []byte{format}
	b = binary.AppendUvarint(b, uint64(e.Pages))
	b = binary.AppendUvarint(b, uint64(e.Attempts))
	b = binary.AppendUvarint(b, uint64(e.Records))
	b = binary.BigEndian.AppendUint64(b, e.AttemptsHash)
	return append(b, e.Owner[:]...)
}

// ParseExtra reads what Encode wrote.
func ParseExtra(b []byte) (Extra, error) {
	if len(b) == 0 {
		return Extra{}, errors.New("watermark is not a position of deliveries")
	}
	if b[0] != format {
		return Extra{}, fmt.Errorf("position of deliveries has format %d, this binary knows %d: let the version that wrote it deliver what waits, then delete the keys of this domain in Redis", b[0], format)
	}
	r := wire.Reader{Rest: b[1:]}
	e := Extra{Pages: int(r.Uvarint()), Attempts: int64(r.Uvarint()), Records: int32(r.Uvarint())}
	hash, owner := r.Bytes(8), r.Bytes(16)
	if !r.Done() {
		return Extra{}, errors.New("watermark is cut short")
	}
	e.AttemptsHash = binary.BigEndian.Uint64(hash)
	copy(e.Owner[:], owner)
	return e, nil
}
