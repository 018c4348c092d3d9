package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// AttemptMessage is the record of an attempt, or of a settlement without a request (number 0, o nil), made by the owner
// of a token.
func AttemptMessage(d *Delivery, number int, o *Outcome, v Decision, owner []byte) *deliveryv1.Attempt {
	m := &deliveryv1.Attempt{
		Delivery: d.ID, Tenant: d.Tenant, Endpoint: d.Endpoint, Notification: d.Notification,
		Topic: d.Topic, Partition: d.Partition, Offset: d.Offset, Number: int32(number),
		NextAttempt: stamp(v.Next), Settlement: deliveryv1.Settlement(v.Settlement), Reason: v.Reason, ReplayJob: d.ReplayJob,
		Owner: owner, PlannedAt: stamp(d.PlannedAt), Sequence: d.Sequence, Previous: d.Previous,
	}
	if o == nil {
		return m
	}
	m.Started = stamp(o.Started)
	m.Phases = phasesMessage(o.Phases)
	m.Uncounted = o.Uncounted
	m.RepeatedRequest, m.Activation = o.RepeatedRequest, o.Activation
	if o.Result != Accepted {
		m.Fault = deliveryv1.Fault(max(o.Fault, FaultReceiver))
	}
	if o.RetryAfter > 0 {
		m.RetryAfter = stamp(o.Finished.Add(o.RetryAfter))
	}
	m.Status, m.EnhancedStatus = int32(o.Status), o.EnhancedStatus
	for _, s := range o.Steps {
		m.Steps = append(m.Steps, &deliveryv1.Step{
			Name: s.Name, Duration: durationpb.New(s.Took), Status: int32(s.Status), EnhancedStatus: s.EnhancedStatus, Answer: strings.ToValidUTF8(s.Answer, "\uFFFD"),
		})
	}
	m.ErrorClass, m.Error = o.ErrorClass, strings.ToValidUTF8(o.Error, "\uFFFD")
	m.RequestHeaders, m.ResponseHeaders = headerMessages(o.RequestHeaders), headerMessages(o.ResponseHeaders)
	m.ResponseBody, m.ResponseBodyTruncated = o.ResponseBody, o.ResponseBodyTruncated
	return m
}

// TestAttempt is the attempt of a delivery that stands in no log: it settles nothing, and no other follows.
func TestAttempt(d *Delivery, o *Outcome) *deliveryv1.Attempt {
	return AttemptMessage(d, 1, o, Decision{}, nil)
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

// AttemptRecord is the record of an attempt. It has the key and the partition number of its delivery.
func AttemptRecord(topic, source string, d *Delivery, m *deliveryv1.Attempt, at time.Time) (stream.Record, error) {
	value, err := proto.Marshal(m)
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode attempt %d of %s: %w", m.GetNumber(), d.ID, err)
	}
	id := d.ID + "/" + strconv.Itoa(int(m.GetNumber()))
	if m.GetUncounted() { // another one has its number
		id += "/" + strconv.FormatInt(m.GetStarted().AsTime().UnixMilli(), 10)
	}
	return stream.Record{
		Topic: topic, Partition: d.Partition, Key: []byte(d.Endpoint), Value: value, Time: at,
		Headers: d.headers(typeAttempted, source, "tollgate.delivery.v1.Attempt", id, at),
	}, nil
}

// DeadRecord is the dead letter of a delivery.
func DeadRecord(topic, source string, d *Delivery, last *deliveryv1.Attempt, at time.Time) (stream.Record, error) {
	value, err := proto.Marshal(&deliveryv1.DeadLetter{Delivery: d.message(), LastAttempt: last})
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode dead letter of %s: %w", d.ID, err)
	}
	return stream.Record{
		Topic: topic, Partition: stream.AnyPartition, Key: []byte(d.ID), Value: value, Time: at,
		Headers: d.headers(typeDead, source, "tollgate.delivery.v1.DeadLetter", d.ID, at),
	}, nil
}
