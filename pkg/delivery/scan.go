package delivery

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/state"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// attemptSummary holds the fields of an attempt that opening a partition needs: the delivery and its result.
type attemptSummary struct {
	ofTopic    bool // belongs to the topic asked for
	offset     int64
	number     int
	next       int64 // ms; 0 when settled
	settlement deliveryv1.Settlement
	id         uint32 // hash of the delivery's id, 0 where the attempt has none
	owner      state.Token
	// What it showed of its endpoint; ended is in ms of the wall clock, 0 where there was no request.
	delivery, endpoint string
	ended, retryAfter  int64
	status             int
	err                string
	fault              deliveryv1.Fault
}

func (t *attemptSummary) settled() bool { return t.settlement != 0 }

var errAttempt = errors.New("decode attempt: bytes are not an attempt")

// scanAttempt reads only the fields that opening a partition needs and skips bodies and headers: after a loss of Redis
// it reads millions of attempts. Topic distinguishes attempts of this channel from those of other channels in the same
// partition.
func scanAttempt(b []byte, topic string) (attemptSummary, error) {
	var (
		t    attemptSummary
		job  string
		took int64
	)
	ok := scanFields(b, func(num protowire.Number, n uint64) {
		switch num {
		case 7:
			t.offset = int64(n)
		case 8:
			t.number = int(int32(n))
		case 11:
			t.status = int(int32(n))
		case 19:
			t.settlement = deliveryv1.Settlement(n)
		case 24:
			t.fault = deliveryv1.Fault(n)
		}
	}, func(num protowire.Number, v []byte) bool {
		ok := true
		switch num {
		case 1:
			t.delivery = string(v)
		case 3:
			t.endpoint = string(v)
		case 5:
			t.ofTopic = string(v) == topic
		case 9:
			t.ended, ok = scanMillis(v)
		case 10:
			ok = scanFields(v, nil, func(num protowire.Number, v []byte) (ok bool) {
				if ok = true; num == 5 {
					took, ok = scanMillis(v)
				}
				return ok
			})
		case 13:
			t.err = string(v)
		case 18:
			t.next, ok = scanMillis(v)
		case 21:
			job = string(v)
		case 22:
			copy(t.owner[:], v)
		case 25:
			t.retryAfter, ok = scanMillis(v)
		}
		return ok
	})
	if !ok {
		return t, errAttempt
	}
	if t.delivery != "" {
		t.id = idHash(t.delivery, job)
	}
	if t.ended > 0 {
		t.ended += took
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
