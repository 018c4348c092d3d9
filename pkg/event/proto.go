package event

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// FromProto is Decode for an event that gRPC has decoded already; errors and what comes along with them are the same.
func FromProto(p *eventv1.Event) (*Event, error) {
	v := violations{}
	e := fromProto(p, &v)
	return e, v.err()
}

func fromProto(p *eventv1.Event, v *violations) *Event {
	e := &Event{
		ID: p.GetId(), Source: p.GetSource(), Type: p.GetType(), Tenant: p.GetTenant(), Subject: p.GetSubject(),
		Correlation: p.GetCorrelation(), Unknown: p.GetUnknown(),
	}
	if t, ok := byName[e.Type]; ok {
		e.Type = t.Name
	}
	e.Time = fromTimestamp(p.GetTime(), "time", v)
	e.ReceivedAt = fromTimestamp(p.GetReceivedAt(), "received_at", v)
	if p.GetData() != nil {
		e.Data = decodeData(p.GetData().GetTypeUrl(), p.GetData().GetValue(), v)
	}
	return e
}

func fromTimestamp(p *timestamppb.Timestamp, field string, v *violations) time.Time {
	if p == nil {
		return time.Time{}
	}
	t, ok := timeOf(p.GetSeconds(), p.GetNanos())
	if !ok {
		v.add(reason.Undecodable, field, timeRange)
	}
	return t
}

// Proto is the event as the message that crosses the wire; nil where its data cannot be encoded.
func (e *Event) Proto() *eventv1.Event {
	p := &eventv1.Event{
		Id: e.ID, Source: e.Source, Type: e.Type, Tenant: e.Tenant, Subject: e.Subject, Correlation: e.Correlation,
		Time: toTimestamp(e.Time), ReceivedAt: toTimestamp(e.ReceivedAt), Unknown: e.Unknown,
	}
	if e.Data != nil {
		p.Data = &anypb.Any{}
		if err := anypb.MarshalFrom(p.Data, e.Data, deterministic); err != nil {
			return nil
		}
	}
	return p
}

func toTimestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(time.UnixMilli(t.UnixMilli()))
}
