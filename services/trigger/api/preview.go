package api

import (
	"context"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rules"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// sampleID is that of sample events.
const sampleID = "preview"

// Preview implements triggerv1.RuleServiceServer.
func (s *ruleService) Preview(ctx context.Context, req *triggerv1.PreviewRequest) (*triggerv1.PreviewResponse, error) {
	b, err := s.book()
	if err != nil {
		return nil, err
	}
	var f fault.Violations
	t, err := trial(b, req, &f)
	if err != nil {
		return nil, err
	}
	var l Log
	position := req.GetPosition()
	if position != nil {
		if l, err = s.at(ctx, position, &f); err != nil {
			return nil, err
		}
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, err
	}
	now := s.clock()
	var e *event.Event
	if position != nil {
		if e, err = s.event(ctx, t.Rule().Tenant, l, position); err != nil {
			return nil, err
		}
		now = e.ReceivedAt
	} else {
		name := req.GetEventType()
		if name == "" {
			name = t.Rule().Types()[0]
		}
		if e = t.Rule().Sample(name, sampleID, now); e == nil {
			f.Add("event_type", "%.100q is no type of event", name)
		}
	}
	if e != nil && !t.Rule().Triggers(e.Type) {
		field := "position"
		if position == nil {
			field = "event_type"
		}
		f.Add(field, "must be of a type of the trigger, %s, is of %s", strings.Join(t.Rule().Types(), ", "), e.Type)
	}
	if err := f.Err(reason.RequestInvalid); err != nil {
		return nil, err
	}
	if e, err = t.Rule().View(e); err != nil {
		return nil, err
	}
	shown := masked(e)
	out := &triggerv1.PreviewResponse{Event: previewed(shown)}
	evaluated := t.Rule().Evaluate(e)
	out.Matches, out.FilterParts = evaluated.Holds, partsOf(evaluated)
	if evaluated.Err != nil {
		out.FilterError = evaluated.Err.Error()
	}
	out.Messages = maskedMessages(t.Messages(e, shown, now, ""))
	s.metrics.previews.Inc()
	return out, nil
}

// previewed is what is shown of an event that is masked.
func previewed(e *event.Event) *triggerv1.PreviewedEvent {
	return &triggerv1.PreviewedEvent{Id: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: timestamppb.New(e.Time)}
}

func partsOf(j rules.Evaluated) []*triggerv1.FilterPart {
	var out []*triggerv1.FilterPart
	for _, p := range j.Parts {
		out = append(out, &triggerv1.FilterPart{Expression: p.Text, Value: p.Value, Error: p.Error, Depth: int32(p.Depth)})
	}
	return out
}

// masked is a copy of an event in which nobody is recognised: personal texts have their ends only, other personal fields
// are empty.
func masked(e *event.Event) *event.Event {
	fields := proto.Clone(e.Fields())
	maskFields(fields.ProtoReflect())
	c := e.WithFields(fields)
	c.Subject, c.Unknown = maskSubject(e.Subject), nil
	return c
}

func maskFields(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		personal, contact := event.PersonalField(f)
		switch {
		case (personal || contact) && f.Kind() == protoreflect.StringKind && !f.IsList() && !f.IsMap():
			m.Set(f, protoreflect.ValueOfString(mask(v.String())))
		case (personal || contact) && f.Message() != nil && !f.IsList() && !f.IsMap():
			maskTexts(v.Message())
		case personal || contact:
			m.Clear(f)
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				maskFields(v.List().Get(i).Message())
			}
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				maskFields(v.Message())
				return true
			})
		case f.Message() != nil && !f.IsMap():
			maskFields(v.Message())
		}
		return true
	})
}

// maskTexts masks a message that is personal as a whole.
func maskTexts(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() == protoreflect.StringKind && !f.IsList() && !f.IsMap() {
			m.Set(f, protoreflect.ValueOfString(mask(v.String())))
		} else {
			m.Clear(f)
		}
		return true
	})
}

// maskSubject masks a number; "client/42" is an id of the tenant's.
func maskSubject(subject string) string {
	if strings.Contains(subject, "/") {
		return subject
	}
	return mask(subject)
}

// mask leaves of a text its ends, and of an address its domain.
func mask(text string) string {
	if name, domain, ok := strings.Cut(text, "@"); ok && name != "" {
		return firstOf(name) + "***@" + domain
	}
	n := utf8.RuneCountInString(text)
	if n < 8 {
		return strings.Repeat("*", n)
	}
	r := []rune(text)
	return string(r[:2]) + strings.Repeat("*", n-4) + string(r[n-2:])
}

func firstOf(text string) string {
	r, _ := utf8.DecodeRuneInString(text)
	return string(r)
}

// maxShown is how much of a body is shown, in bytes.
const maxShown = 16 << 10

func maskedMessages(all []*triggerv1.PreviewedMessage) []*triggerv1.PreviewedMessage {
	for _, m := range all {
		if m.GetRecipient() != "" {
			m.Recipient = mask(m.GetRecipient())
		}
		if len(m.GetBody()) > maxShown {
			m.Body = m.GetBody()[:maxShown]
		}
	}
	return all
}
