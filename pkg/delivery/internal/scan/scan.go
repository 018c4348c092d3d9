package scan

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/state"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// AttemptSummary holds the fields of an attempt that opening a partition needs: the delivery and its result.
type AttemptSummary struct {
	OfTopic    bool // belongs to the topic asked for
	Offset     int64
	Number     int
	Uncounted  bool
	Next       int64 // ms; 0 when settled
	Settlement deliveryv1.Settlement
	ID         uint32 // hash of the delivery's id, 0 where the attempt has none
	Owner      state.Token
	// What it showed of its endpoint; ended is in ms of the wall clock, 0 where there was no request.
	Delivery, Endpoint string
	// Started is when it began, like Ended.
	Started, Ended, RetryAfter int64
	Activation                 int64
	Status                     int
	Err                        string
	Fault                      deliveryv1.Fault
}

func (t AttemptSummary) Settled() bool { return t.Settlement != 0 }

// Counted is how many attempts the delivery has used with this one.
func (t AttemptSummary) Counted() int {
	if t.Uncounted {
		return t.Number - 1
	}
	return t.Number
}

var errAttempt = errors.New("decode attempt: bytes are not an attempt")

// ScanAttempt reads only the fields that opening a partition needs and skips bodies and headers: after a loss of Redis
// it reads millions of attempts. Topic distinguishes attempts of this channel from those of other channels in the same
// partition.
func ScanAttempt(b []byte, topic string) (AttemptSummary, error) {
	var (
		t    AttemptSummary
		job  string
		took int64
	)
	ok := scanFields(b, func(num protowire.Number, n uint64) {
		switch num {
		case 7:
			t.Offset = int64(n)
		case 8:
			t.Number = int(int32(n))
		case 11:
			t.Status = int(int32(n))
		case 19:
			t.Settlement = deliveryv1.Settlement(n)
		case 24:
			t.Fault = deliveryv1.Fault(n)
		case 29:
			t.Activation = int64(n)
		case 32:
			t.Uncounted = n != 0
		}
	}, func(num protowire.Number, v []byte) bool {
		ok := true
		switch num {
		case 1:
			t.Delivery = string(v)
		case 3:
			t.Endpoint = string(v)
		case 5:
			t.OfTopic = string(v) == topic
		case 9:
			t.Started, ok = scanMillis(v)
		case 10:
			ok = scanFields(v, nil, func(num protowire.Number, v []byte) (ok bool) {
				if ok = true; num == 5 {
					took, ok = scanMillis(v)
				}
				return ok
			})
		case 13:
			t.Err = string(v)
		case 18:
			t.Next, ok = scanMillis(v)
		case 21:
			job = string(v)
		case 22:
			copy(t.Owner[:], v)
		case 25:
			t.RetryAfter, ok = scanMillis(v)
		}
		return ok
	})
	if !ok {
		return t, errAttempt
	}
	if t.Delivery != "" {
		t.ID = queue.IDHash(t.Delivery, job)
	}
	if t.Started > 0 {
		t.Ended = t.Started + took
	}
	return t, nil
}

// scanMillis reads a google.protobuf.Timestamp or Duration.
func scanMillis(b []byte) (ms int64, ok bool) {
	ok = scanFields(b, func(num protowire.Number, n uint64) {
		if num == 1 {
			ms += int64(n) * 1000
		} else {
			ms += int64(n) / 1e6
		}
	}, nil)
	return ms, ok
}

// scanFields calls number and bytes for the fields of a message in their order, where they are set; false where it is no
// message, or bytes refuses it.
func scanFields(b []byte, number func(protowire.Number, uint64), bytes func(protowire.Number, []byte) bool) bool {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch {
		case kind == protowire.VarintType && number != nil:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			b = b[n:]
			number(num, v)
		case kind == protowire.BytesType && bytes != nil:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 || !bytes(num, v) {
				return false
			}
			b = b[n:]
		default:
			n := protowire.ConsumeFieldValue(num, kind, b)
			if n < 0 {
				return false
			}
			b = b[n:]
		}
	}
	return true
}
