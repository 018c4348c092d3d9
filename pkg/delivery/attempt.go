package delivery

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// attemptMessage is the record of an attempt, or of a settlement without a request (number 0, o nil), made by the owner
// of a token.
func attemptMessage(d *Delivery, number int, o *Outcome, v decision, owner []byte) *deliveryv1.Attempt {
	m := &deliveryv1.Attempt{
		Delivery: d.ID, Tenant: d.Tenant, Endpoint: d.Endpoint, Notification: d.Notification,
		Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Number: int32(number),
		NextAttempt: stamp(v.next), Settlement: deliveryv1.Settlement(v.settlement), Reason: v.reason, ReplayJob: d.ReplayJob,
		Owner: owner, PlannedAt: stamp(d.PlannedAt), Sequence: d.Sequence, Previous: d.Previous,
	}
	if o == nil {
		return m
	}
	m.Started = stamp(o.Started)
	m.Phases = phasesMessage(o.Phases)
	m.Status = int32(o.Status)
	m.ErrorClass, m.Error = o.ErrorClass, strings.ToValidUTF8(o.Error, "\uFFFD")
	m.RequestHeaders, m.ResponseHeaders = headerMessages(o.RequestHeaders), headerMessages(o.ResponseHeaders)
	m.ResponseBody, m.ResponseBodyTruncated = o.ResponseBody, o.ResponseBodyTruncated
	return m
}

func phasesMessage(p Phases) *deliveryv1.Phases {
	part := func(d time.Duration) *durationpb.Duration {
		if d == 0 {
			return nil
		}
		return durationpb.New(d)
	}
	return &deliveryv1.Phases{Dns: part(p.DNS), Connect: part(p.Connect), Tls: part(p.TLS), Wait: part(p.Wait), Total: part(p.Total)}
}

// attemptRecord is the record of an attempt. It has the key and the partition number of its delivery.
func attemptRecord(topic, source string, d *Delivery, m *deliveryv1.Attempt, at time.Time) (stream.Record, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode attempt %d of %s: %w", m.GetNumber(), d.ID, err)
	}
	id := d.ID + "/" + strconv.Itoa(int(m.GetNumber()))
	return stream.Record{
		Topic: topic, Partition: d.Partition, Key: []byte(d.Endpoint), Value: value, Time: at,
		Headers: d.headers(typeAttempted, source, "tollgate.delivery.v1.Attempt", id, at),
	}, nil
}

// deadRecord is the dead letter of a delivery.
func deadRecord(topic, source string, d *Delivery, last *deliveryv1.Attempt, at time.Time) (stream.Record, error) {
	value, err := proto.Marshal(&deliveryv1.DeadLetter{Delivery: d.message(), LastAttempt: last})
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode dead letter of %s: %w", d.ID, err)
	}
	return stream.Record{
		Topic: topic, Partition: stream.AnyPartition, Key: []byte(d.ID), Value: value, Time: at,
		Headers: d.headers(typeDead, source, "tollgate.delivery.v1.DeadLetter", d.ID, at),
	}, nil
}

// attemptSummary holds the fields of an attempt that opening a partition needs: the delivery and its result.
type attemptSummary struct {
	ofTopic bool // belongs to the topic asked for
	offset  int64
	number  int
	next    int64 // ms; 0 when settled
	settled bool
	id      uint32 // hash of the delivery's id, 0 where the attempt has none
	owner   state.Token
}

var errAttempt = errors.New("decode attempt: bytes are not an attempt")

// scanAttempt reads only the fields that opening a partition needs and skips bodies and headers: after a loss of Redis
// it reads millions of attempts. Topic distinguishes attempts of this channel from those of other channels in the same
// partition.
func scanAttempt(b []byte, topic string) (attemptSummary, error) {
	var (
		t       attemptSummary
		id, job string
	)
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return t, errAttempt
		}
		b = b[n:]
		switch {
		case (num == 1 || num == 5 || num == 21 || num == 22) && kind == protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return t, errAttempt
			}
			b = b[n:]
			switch num {
			case 1:
				id = string(v)
			case 5:
				t.ofTopic = string(v) == topic
			case 21:
				job = string(v)
			default:
				copy(t.owner[:], v)
			}
		case (num == 7 || num == 8 || num == 19) && kind == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return t, errAttempt
			}
			b = b[n:]
			switch num {
			case 7:
				t.offset = int64(v)
			case 8:
				t.number = int(int32(v))
			default:
				t.settled = v != 0
			}
		case num == 18 && kind == protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return t, errAttempt
			}
			b = b[n:]
			ms, ok := scanMillis(v)
			if !ok {
				return t, errAttempt
			}
			t.next = ms
		default:
			n := protowire.ConsumeFieldValue(num, kind, b)
			if n < 0 {
				return t, errAttempt
			}
			b = b[n:]
		}
	}
	if id != "" {
		t.id = idHash(id, job)
	}
	return t, nil
}

// scanMillis reads a google.protobuf.Timestamp.
func scanMillis(b []byte) (int64, bool) {
	var seconds, nanos int64
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 || kind != protowire.VarintType {
			return 0, false
		}
		b = b[n:]
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return 0, false
		}
		b = b[n:]
		if num == 1 {
			seconds = int64(v)
		} else {
			nanos = int64(v)
		}
	}
	return seconds*1000 + nanos/1e6, true
}
