package receipts

import (
	"strings"
	"time"

	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Attempt is one line of an export: an attempt to deliver, or the settlement of a delivery without one (number 0).
type Attempt struct {
	Delivery     string `json:"delivery"`
	Tenant       string `json:"tenant"`
	Endpoint     string `json:"endpoint"`
	Notification string `json:"notification,omitempty"`
	// Topic, Partition and Offset are where the delivery, with its body, stands.
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Sequence and Previous of an ordered delivery.
	Sequence int64  `json:"sequence,omitempty"`
	Previous string `json:"previous,omitempty"`
	Number   int32  `json:"number"`
	// PlannedAt is of the delivery. Answered is when the attempt ended, with a response or without.
	PlannedAt *time.Time `json:"planned_at,omitempty"`
	Started   *time.Time `json:"started,omitempty"`
	Answered  *time.Time `json:"answered,omitempty"`
	// Recorded is the time of the record: when the attempt started, or the delivery was settled without one.
	Recorded   time.Time `json:"recorded"`
	Status     int32     `json:"status,omitempty"`
	ErrorClass string    `json:"error_class,omitempty"`
	Error      string    `json:"error,omitempty"`
	// Fault is whose the failure is: receiver, ours, slow, gone, throttled.
	Fault string `json:"fault,omitempty"`
	// RepeatedRequest: the receiver may have this attempt's request twice.
	RepeatedRequest bool       `json:"repeated_request,omitempty"`
	RetryAfter      *time.Time `json:"retry_after,omitempty"`
	NextAttempt     *time.Time `json:"next_attempt,omitempty"`
	// Settlement is delivered, dead, expired, superseded or cancelled; empty while the delivery waits.
	Settlement string `json:"settlement,omitempty"`
	Reason     string `json:"reason,omitempty"`
	ReplayJob  string `json:"replay_job,omitempty"`
}

// Line is the line of an attempt whose record has a time.
func Line(m *deliveryv1.Attempt, recorded time.Time) Attempt {
	a := Attempt{
		Delivery: m.GetDelivery(), Tenant: m.GetTenant(), Endpoint: m.GetEndpoint(), Notification: m.GetNotification(),
		Topic: m.GetTopic(), Partition: m.GetPartition(), Offset: m.GetOffset(),
		Sequence: m.GetSequence(), Previous: m.GetPrevious(), Number: m.GetNumber(),
		PlannedAt: at(m.GetPlannedAt()), Started: at(m.GetStarted()), Recorded: recorded.UTC(),
		Status: m.GetStatus(), ErrorClass: m.GetErrorClass(), Error: m.GetError(), Fault: word(m.GetFault().String(), "FAULT_"),
		RepeatedRequest: m.GetRepeatedRequest(), RetryAfter: at(m.GetRetryAfter()), NextAttempt: at(m.GetNextAttempt()),
		Settlement: word(m.GetSettlement().String(), "SETTLEMENT_"), Reason: m.GetReason(), ReplayJob: m.GetReplayJob(),
	}
	if a.Started != nil && m.GetPhases().GetTotal() != nil {
		end := a.Started.Add(m.GetPhases().GetTotal().AsDuration())
		a.Answered = &end
	}
	return a
}

type instant interface{ AsTime() time.Time }

func at[T interface {
	comparable
	instant
}](t T) *time.Time {
	var absent T
	if t == absent {
		return nil
	}
	out := t.AsTime()
	return &out
}

// word is an enum's name as people write it; empty for the unspecified one.
func word(name, prefix string) string {
	w := strings.ToLower(strings.TrimPrefix(name, prefix))
	if w == "unspecified" {
		return ""
	}
	return w
}
