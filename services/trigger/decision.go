package trigger

import (
	"strconv"
	"strings"

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
	s.Emit(f.decided(s, of, why))
	f.metrics.decided(why.reason)
}

// decided is the record of a decision.
func (f *evaluation) decided(s *fold.Subject[body], of firing, why decision) stream.Record {
	e := of.Event
	d := &triggerv1.Decision{
		Tenant: e.Tenant, Notification: why.rule.Code, NotificationVersion: why.rule.Version, Reason: why.reason,
		Detail: shortened(why.why.Error()), Key: shortened(of.key), Firing: of.name,
		Event: &deliveryv1.EventReference{
			Source: e.Source, Id: e.ID, Type: e.Type, Subject: e.Subject, Time: timestamppb.New(e.Time),
			Topic: s.Topic, Partition: s.Partition, Offset: of.offset,
		},
		Time: timestamppb.New(s.Time), Revision: s.Revision, Count: why.count,
	}
	if why.action != nil {
		d.Action, d.Endpoint = why.action.Name, f.book.targetOf(why.action, e.Tenant)
	}
	// With its offset, since no state remembers that a repeat was decided before: each id has one content.
	parts := []string{why.rule.Code, d.GetAction(), why.reason.String(), s.Topic, strconv.Itoa(int(s.Partition)), strconv.FormatInt(s.Offset, 10)}
	if of.name != "" || of.key != "" {
		parts = append(parts, of.name, of.key)
	}
	// Timers of two events may be due in one millisecond, one after the other.
	if by := e.Identity(); by != s.Identity {
		parts = append(parts, by.String())
	}
	d.Id = event.Derive(s.Identity, parts...).String()
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(d)
	if err != nil {
		panic("encode decision: " + err.Error()) // all its texts are UTF-8
	}
	headers := event.Attributes{
		ID: d.GetId(), Type: typeDecided, Source: sourceTrigger, Tenant: e.Tenant, Subject: e.Subject, Correlation: e.Correlation,
		Time: s.Time, Schema: schemaDecision, Trace: e.Trace,
	}.Headers()
	return stream.Record{Topic: f.topic(stream.TriggersDecisions), Partition: stream.AnyPartition, Key: []byte(e.Key()), Value: value, Headers: headers}
}
