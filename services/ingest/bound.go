package ingest

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// bounded is IngestService, with batches counted before they are decoded: an empty event takes two bytes on the wire and
// a hundred times that in memory, and a message is decoded before anybody asks who sent it.
func bounded() *grpc.ServiceDesc {
	d := ingestv1.IngestService_ServiceDesc
	d.Methods = slices.Clone(d.Methods)
	for i, m := range d.Methods {
		if m.MethodName != "PublishBatch" {
			continue
		}
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return m.Handler(srv, ctx, func(into any) error {
				// A message without fields keeps all it was sent as bytes.
				var sent emptypb.Empty
				if err := decode(&sent); err != nil {
					return err
				}
				if err := proto.Unmarshal(upTo(maxBatch+1, sent.ProtoReflect().GetUnknown()), into.(proto.Message)); err != nil {
					return fault.Status(fault.NewInvalid(event.ReasonUndecodable, fault.Violation{Description: "must be a PublishBatchRequest"})).Err()
				}
				return nil
			}, interceptor)
		}
	}
	return &d
}

// upTo cuts a message off after n fields: of a batch of too many, enough is left to be refused for it, after the caller
// was asked for a key.
func upTo(n int, message []byte) []byte {
	at := 0
	for range n {
		_, _, size := protowire.ConsumeField(message[at:])
		if size < 0 {
			return message // at its end, or malformed: whoever decodes it says so
		}
		at += size
	}
	return message[:at]
}
