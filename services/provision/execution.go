package provision

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision/chain"
)

const (
	// maxKept is how much of a question and of a reply is kept, in bytes; of a reply that is no JSON, maxForeign.
	maxKept    = 16 << 10
	maxForeign = 1 << 10
	// maskedText stands for personal and contact data.
	maskedText = `"****"`

	typeExecution   = "provision.execution"
	schemaExecution = event.SchemaPrefix + "tollgate.provision.v1.Execution"
)

// executionLog writes what handlers did to provision.executions.
type executionLog struct {
	topic   string
	produce func(ctx context.Context, records ...stream.Record) error
	results func(ctx context.Context, records ...stream.Record) ([]stream.ProduceResult, error)
	log     *zap.Logger
	metrics *metrics
}

// records are the results of a chain as the log has them.
func (l *executionLog) records(ctx context.Context, a *action, b *book, got *chain.Answer) []stream.Record {
	records := make([]stream.Record, 0, len(got.Results)+1)
	for i := range got.Results {
		r, err := l.record(ctx, a, b, &got.Results[i])
		if err != nil {
			l.lost(1, err)
			continue
		}
		records = append(records, r)
	}
	return records
}

// write puts executions into the log. It fails nothing: what is not written is counted.
func (l *executionLog) write(ctx context.Context, executions []stream.Record) {
	if len(executions) == 0 {
		return
	}
	if err := l.produce(ctx, executions...); err != nil {
		l.lost(len(executions), err)
	}
}

// writeBeside publishes a record, and executions in the same request; the error is of the record.
func (l *executionLog) writeBeside(ctx context.Context, record stream.Record, executions []stream.Record) error {
	results, err := l.results(ctx, append([]stream.Record{record}, executions...)...)
	if err == nil {
		return nil
	}
	lost := 0
	var why error
	for _, r := range results[1:] {
		if r.Err != nil {
			lost, why = lost+1, r.Err
		}
	}
	if lost > 0 {
		l.lost(lost, why)
	}
	return results[0].Err
}

func (l *executionLog) lost(n int, err error) {
	l.metrics.unlogged.Add(float64(n))
	l.log.Warn("executions not written", zap.Int("count", n), zap.Error(err))
}

func (l *executionLog) record(ctx context.Context, a *action, b *book, r *chain.Result) (stream.Record, error) {
	x := &provisionv1.Execution{
		Tenant: a.event.Tenant, Result: resultOf(r), Stage: max(a.stage, provisionv1.Execution_STAGE_BEFORE), Type: a.event.Type, EventId: a.event.ID,
		ObjectId: a.objectID, Time: timestamppb.New(r.Began), Caller: rpc.Caller(ctx), DryRun: a.dryRun, Correlation: a.event.Correlation,
		Revision: b.snapshot.Revision,
	}
	if a.stage == provisionv1.Execution_STAGE_AFTER {
		x.Result.ByFailurePolicy = false // nothing is decided
	}
	x.Id = hashOf("execution", a.key, r.Handler.Name, strconv.FormatInt(r.Began.UnixNano(), 10))
	x.Sent, x.Received = r.Exchange.Sent, r.Exchange.Received
	if t, ok := b.snapshot.Tenant(a.event.Tenant); !ok || t.Message.GetExecutionLog() != configv1.ExecutionLog_EXECUTION_LOG_KEEP {
		d := a.event.Fields().ProtoReflect().Descriptor()
		x.Sent, x.Received = masked(x.Sent, d), masked(x.Received, d)
		for i, c := range r.Changes {
			if c.Personal {
				hide(&x.Result.Changes[i].Before)
				hide(&x.Result.Changes[i].After)
			}
		}
	}
	x.Sent, x.Received = cut(x.Sent, maxKept), cut(x.Received, maxKept)
	return Record(l.topic, x, a.event.Subject)
}

// Record is an execution as a record of a topic (full name); subject is that of the event.
func Record(topic string, x *provisionv1.Execution, subject string) (stream.Record, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(x)
	if err != nil {
		return stream.Record{}, err
	}
	began := x.GetTime().AsTime()
	return stream.Record{
		Topic: topic, Partition: stream.AnyPartition, Key: []byte(x.GetTenant() + "/" + x.GetObjectId()), Value: value, Time: began,
		Headers: event.Attributes{
			ID: x.GetId(), Type: typeExecution, Source: source, Tenant: x.GetTenant(), Subject: subject, Correlation: x.GetCorrelation(),
			Time: began, Schema: schemaExecution,
		}.Headers(),
	}, nil
}

func hide(value *string) {
	if *value != "" {
		*value = maskedText
	}
}

// cut never leaves a part of a rune at the end of a text.
func cut(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	for most > 0 && !utf8.RuneStart(b[most]) {
		most--
	}
	return b[:most]
}

var handlerOutcomes = [...]provisionv1.Outcome{
	chain.Allowed: provisionv1.Outcome_OUTCOME_ALLOWED, chain.Changed: provisionv1.Outcome_OUTCOME_CHANGED,
	chain.Forbade: provisionv1.Outcome_OUTCOME_FORBADE, chain.Fault: provisionv1.Outcome_OUTCOME_FAULT,
	chain.TimedOut: provisionv1.Outcome_OUTCOME_TIMED_OUT, chain.CutOff: provisionv1.Outcome_OUTCOME_CUT_OFF,
	chain.NotAsked: provisionv1.Outcome_OUTCOME_NOT_ASKED, chain.CircuitOpen: provisionv1.Outcome_OUTCOME_CIRCUIT_OPEN,
	chain.Busy: provisionv1.Outcome_OUTCOME_BUSY,
}

// resultOf is a result as answers and the log have it.
func resultOf(r *chain.Result) *provisionv1.HandlerResult {
	out := &provisionv1.HandlerResult{
		Handler: r.Handler.Name, Outcome: handlerOutcomes[r.Outcome], Text: display.Text(r.Text, maxForeign), Took: durationpb.New(r.Took.Truncate(time.Microsecond)),
		Status: int32(r.Exchange.Status), ByFailurePolicy: r.ByPolicy(),
	}
	for _, c := range r.Changes {
		out.Changes = append(out.Changes, &provisionv1.FieldChange{Path: display.Text(c.Path, maxForeign), Before: string(cut(c.Before, maxForeign)), After: string(cut(c.After, maxForeign))})
	}
	return out
}

// masked hides personal and contact data in a question or a reply. What is no JSON is cut short: nobody knows what it holds.
func masked(body []byte, data protoreflect.MessageDescriptor) []byte {
	var members map[string]json.RawMessage
	if event.ReadJSON(bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff"))), &members) != nil || members == nil {
		return cut(body, maxForeign)
	}
	if of, ok := members["data"]; ok {
		members["data"] = maskedObject(of, data)
	}
	out, err := json.Marshal(members)
	if err != nil {
		return nil
	}
	return out
}

// maskedObject hides the members of a message that are about a person, and those that the message does not have.
func maskedObject(raw json.RawMessage, of protoreflect.MessageDescriptor) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return json.RawMessage(maskedText)
	}
	for name, value := range members {
		members[name] = maskedField(value, fieldOf(of, name))
	}
	out, err := json.Marshal(members)
	if err != nil {
		return json.RawMessage(maskedText)
	}
	return out
}

func fieldOf(of protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := of.Fields().ByJSONName(name); f != nil {
		return f
	}
	return of.Fields().ByName(protoreflect.Name(name))
}

func maskedField(value json.RawMessage, f protoreflect.FieldDescriptor) json.RawMessage {
	if f == nil {
		return json.RawMessage(maskedText)
	}
	if personal, contact := event.PersonalField(f); personal || contact {
		return json.RawMessage(maskedText)
	}
	if f.Message() == nil || f.IsMap() || f.Message().ParentFile().Package() == "google.protobuf" {
		return value
	}
	if !f.IsList() {
		return maskedObject(value, f.Message())
	}
	var elements []json.RawMessage
	if json.Unmarshal(value, &elements) != nil {
		return json.RawMessage(maskedText)
	}
	for i := range elements {
		elements[i] = maskedObject(elements[i], f.Message())
	}
	out, err := json.Marshal(elements)
	if err != nil {
		return json.RawMessage(maskedText)
	}
	return out
}
