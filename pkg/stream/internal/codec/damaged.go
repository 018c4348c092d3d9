package codec

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/pkg/reason"
)

var (
	errBatch   = errors.New("record batch is damaged")
	errCRC     = errors.New("record batch fails its checksum")
	errTooMuch = errors.New("record batch is too large")
	// ErrAgain means that a batch is damaged for the first time.
	ErrAgain = errors.New("damaged answer")
	// ErrCut means that an answer holds only the beginning of a batch: asked for alone, it comes whole.
	ErrCut = errors.New("answer holds a batch in part")
)

// DamagedError is a record batch that can't be read: it unpacks to more than
// Config.MaxUnpackedBatch, or came twice with the same bytes that make no sense.
type DamagedError struct {
	Topic     string
	Partition int32
	// First is its first offset that was not taken yet, Next the one after its last.
	First, Next int64
	// Reason is reason.BatchTooLarge or reason.BatchDamaged, Detail is a text.
	Reason, Detail string
	// Raw is the batch as the broker sent it.
	Raw []byte
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("batch at offsets %d to %d of %s/%d: %s", e.First, e.Next-1, e.Topic, e.Partition, e.Detail)
}

// Doubt remembers what was found damaged once.
type Doubt struct{ sum *[sha256.Size]byte }

// Confirm makes the error of Take final, or has the batch asked for again: once
// the bytes fit their checksum the size is what it is; what is damaged may have
// been damaged on its way.
func (d *Doubt) Confirm(err error) error {
	var damaged *DamagedError
	if !errors.As(err, &damaged) || damaged.Reason == reason.BatchTooLarge {
		return err
	}
	raw := damaged.Raw
	if int64(len(raw)) != batchSize(raw) { // where it ends is not known, and more may have come behind it
		raw = raw[:min(len(raw), batchHead)]
	}
	sum := sha256.Sum256(raw)
	if d.sum != nil && *d.sum == sum {
		d.sum = nil
		return err
	}
	d.sum = &sum
	return fmt.Errorf("%w: %s; it is asked for again", ErrAgain, damaged.Error())
}
