package ingest

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/wire"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// bounded is IngestService, with events counted before they are decoded: an empty event takes two bytes on the wire and
// a hundred times that in memory.
func bounded() *grpc.ServiceDesc {
	d := ingestv1.IngestService_ServiceDesc
	d.Methods = slices.Clone(d.Methods)
	for i, m := range d.Methods {
		if m.MethodName != "PublishBatch" {
			continue
		}
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error,
			interceptor grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(srv, ctx, func(into any) error {
				// A message without fields keeps all it was sent as bytes.
				var sent emptypb.Empty
				if err := decode(&sent); err != nil {
					return err
				}
				return unmarshal(ctx, upTo(maxBatch+1, sent.ProtoReflect().GetUnknown()), into.(proto.Message))
			}, interceptor)
		}
	}
	d.Streams = slices.Clone(d.Streams)
	for i := range d.Streams {
		if d.Streams[i].StreamName == "PublishStream" {
			d.Streams[i].Handler = func(srv any,
				stream grpc.ServerStream) error {
				return srv.(*grpcAPI).publishStream(stream)
			}
		}
	}
	return &d
}

// unmarshal decodes what the budget has room for; that counts what was received already.
func unmarshal(ctx context.Context, message []byte, into proto.Message) error {
	weight, err := wire.Weigh(message, into)
	if err == nil {
		if err := rpc.HoldOf(ctx).Take(weight); err != nil {
			return err
		}
		err = proto.Unmarshal(message, into)
	}
	if err != nil {
		return fault.NewInvalid(reason.Undecodable, fault.Violation{Description: "must be a PublishBatchRequest"})
	}
	return nil
}

// upTo cuts a message off after n fields: of a batch of too many, enough is left to be refused for it, after the caller
// was asked for a key.
func upTo(n int, message []byte) []byte {
	at := 0
	for range n {
		_, _, size := protowire.ConsumeField(message[at:])
		if size < 0 {
			return message // at its end, or malformed: decoding it fails
		}
		at += size
	}
	return message[:at]
}

// received is the next message of a PublishStream: its events as they are on the wire. They are decoded once, into what
// is published, and one that is malformed is that event's fault alone.
func received(stream grpc.ServerStream) (events [][]byte, weight int64, err error) {
	var sent emptypb.Empty
	if err := stream.RecvMsg(&sent); err != nil {
		return nil, 0, err
	}
	message := sent.ProtoReflect().GetUnknown()
	if events, err = eventsOf(message); err != nil {
		return nil, 0, err
	}
	for _, e := range events {
		weight += wire.Estimate(e, (*eventv1.Event)(nil)) + heldPerEvent + int64(len(e))*(heldPerByte-1)
	}
	return events, weight, nil
}

// eventsOf are the fields event and events of a PublishStreamRequest, in that order.
func eventsOf(message []byte) ([][]byte, error) {
	var events [][]byte
	// A message that has the field event twice means the last one, as Protobuf has it; no sender does that.
	var single []byte
	for at := 0; at < len(message); {
		number, kind, n := protowire.ConsumeTag(message[at:])
		if n < 0 {
			return nil, errMalformed
		}
		at += n
		if n = protowire.ConsumeFieldValue(number, kind, message[at:]); n < 0 {
			return nil, errMalformed
		}
		if value, _ := protowire.ConsumeBytes(message[at : at+n]); kind == protowire.BytesType {
			switch number {
			case fieldEvent:
				single = value
			case fieldEvents:
				events = append(events, value)
			}
		}
		at += n
	}
	if single != nil {
		events = slices.Insert(events, 0, single)
	}
	switch {
	case len(events) > maxBatch:
		return nil, errTooMany
	case len(events) == 0:
		// It brings the event without content, whose faults are its answer.
		events = [][]byte{{}}
	}
	return events, nil
}

// Fields of PublishStreamRequest.
const (
	fieldEvent  protowire.Number = 1
	fieldEvents protowire.Number = 2
)

var errMalformed = fault.NewInvalid(reason.Undecodable,
	fault.Violation{Description: "must be a PublishStreamRequest"})
