package trigger

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Attributes of a record on triggers.decisions.
const (
	typeDecided    = "trigger.decided"
	sourceTrigger  = "tollgate/trigger"
	schemaDecision = event.SchemaPrefix + "tollgate.trigger.v1.Decision"
	maxDetail      = 512 // bytes
)

// shortened keeps a detail's first part.
func shortened(text string) string {
	if len(text) > maxDetail {
		text = text[:maxDetail]
	}
	return strings.ToValidUTF8(text, "")
}

// decision is why a match led to no delivery.
type decision struct {
	rule   *rules.Rule
	action *rules.Plan // nil where the whole rule was held back
	reason triggerv1.Decision_Reason
	why    error
	count  int64 // how many are held back, where that is more than this one
}

// decide records a decision on a firing.
func (f *evaluation) decide(s *fold.Subject[body], of firing, why decision) {
	s.Emit(f.decided(causeOf(s), of, why))
	f.metrics.decided(why.reason)
}

// cause is the event or the timer in hand, as decisions name it: a subject goes on to the next.
type cause struct {
	topic     string
	partition int32
	offset    int64
	time      time.Time
	revision  int64
	identity  fold.Identity
}

func causeOf(s *fold.Subject[body]) cause {
	return cause{s.Topic, s.Partition, s.Offset, s.Time, s.Revision, s.Identity}
}

// decided is the record of a decision. It reads the book where the action names no target.
func (f *evaluation) decided(by cause, of firing, why decision) stream.Record {
	e := of.Event
	d := &triggerv1.Decision{
		Tenant: e.Tenant, Notification: why.rule.Code, NotificationVersion: why.rule.Version, Reason: why.reason,
		Detail: shortened(why.why.Error()), Key: shortened(of.key), Firing: of.name,
		Event: &deliveryv1.EventReference{
			Source: e.Source, Id: e.ID, Type: e.Type, Subject: e.Subject, Time: timestamppb.New(e.Time),
			Topic: by.topic, Partition: by.partition, Offset: of.offset,
		},
		Time: timestamppb.New(by.time), Revision: by.revision, Count: why.count,
	}
	if why.action != nil {
		if d.Action, d.Endpoint = why.action.Name, why.action.Target; d.GetEndpoint() == "" {
			d.Endpoint = f.book.targetOf(why.action, e.Tenant)
		}
	}
	// With its offset, since no state remembers that a repeat was decided before: each id has one content.
	parts := []string{why.rule.Code, d.GetAction(), why.reason.String(), by.topic, strconv.Itoa(int(by.partition)), strconv.FormatInt(by.offset, 10)}
	if of.name != "" || of.key != "" {
		parts = append(parts, of.name, of.key)
	}
	// Timers of two events may be due in one millisecond, one after the other.
	if set := e.Identity(); set != by.identity {
		parts = append(parts, set.String())
	}
	d.Id = event.Derive(by.identity, parts...).String()
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		panic("encode decision: " + err.Error()) // all its texts are UTF-8
	}
	headers := event.Attributes{
		ID: d.GetId(), Type: typeDecided, Source: sourceTrigger, Tenant: e.Tenant, Subject: e.Subject, Correlation: e.Correlation,
		Time: by.time, Schema: schemaDecision, Trace: e.Trace,
	}.Headers()
	return stream.Record{Topic: f.topic(stream.TriggersDecisions), Partition: stream.AnyPartition, Key: []byte(e.Key()), Value: value, Headers: headers}
}
