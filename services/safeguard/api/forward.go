package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
)

// forwarding sends requests about subscribers of other replicas on to the owner of the partition, over one hop. Handlers
// answer from what this replica has, and return elsewhere or unanswered for what it has not.
type forwarding struct {
	grpc.ServiceRegistrar
	local *subscribers
	peers *Replicas
}

// elsewhere is the error of a read of a subscriber whose partition another replica owns.
type elsewhere struct {
	owner *fold.NotOwnerError
	// patience is how long the owner may take to answer before the store is read instead.
	patience time.Duration
	// watch: the stream stays at one owner, and an owner that does not answer has lost the partition or will.
	watch bool
}

func (e *elsewhere) Error() string { return e.owner.Error() }
func (e *elsewhere) Unwrap() error { return e.owner }

// RegisterService registers a service whose methods are forwarded, behind the server's own interceptors.
func (f *forwarding) RegisterService(desc *grpc.ServiceDesc, service any) {
	d := *desc
	d.Methods, d.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range d.Methods {
		handler := d.Methods[i].Handler
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, before grpc.UnaryServerInterceptor) (any, error) {
			return handler(srv, ctx, decode, behind(before, f.unary))
		}
	}
	for i := range d.Streams {
		handler, method := d.Streams[i].Handler, "/"+d.ServiceName+"/"+d.Streams[i].StreamName
		d.Streams[i].Handler = func(srv any, s grpc.ServerStream) error { return f.stream(srv, s, method, handler) }
	}
	f.ServiceRegistrar.RegisterService(&d, service)
}

func behind(before, after grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if before == nil {
		return after
	}
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return before(ctx, req, info, func(ctx context.Context, req any) (any, error) { return after(ctx, req, info, handler) })
	}
}

// request is a unary method for the requests of a stream: forwarded like any other.
func request[Req, Res any](f *forwarding, method string, answer func(context.Context, *Req) (*Res, error)) func(context.Context, *Req) (*Res, error) {
	info := &grpc.UnaryServerInfo{FullMethod: method}
	handler := func(ctx context.Context, req any) (any, error) { return answer(ctx, req.(*Req)) }
	return func(ctx context.Context, req *Req) (*Res, error) {
		res, err := f.unary(ctx, req, info, handler)
		m, _ := res.(*Res)
		return m, err
	}
}

// unary answers here, or at the owner. A command is tried again while its partition moves, under the same id, at whoever has
// the partition then, until ctx ends. The id makes that safe: what was accepted once is accepted again and changes nothing.
func (f *forwarding) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	var t trying
	for {
		res, err := handler(ctx, req)
		if err == nil {
			return res, nil
		}
		if away, ok := errors.AsType[*elsewhere](err); ok {
			return f.read(ctx, req, info.FullMethod, away, handler)
		}
		u, ok := errors.AsType[*unanswered](err)
		if !ok {
			return nil, err
		}
		err = u.err
		known := appliedHere(err)
		owner, ok := errors.AsType[*fold.NotOwnerError](err)
		switch {
		case isForwarded(ctx): // the replica that sent it tries again
			return nil, passedOn(known, err)
		case ok:
			res, sent, asked := f.ask(ctx, owner.Address, info.FullMethod, req)
			if asked == nil {
				return res, nil
			}
			known, err = appliedThere(sent, asked), errors.Join(asked, err)
		}
		t.local, t.key = f.local, u.key
		if err := t.again(ctx, known, err); err != nil {
			return nil, err
		}
	}
}

// read asks the owner once. Where that has no answer in time, the handler answers from the store.
func (f *forwarding) read(ctx context.Context, req any, method string, away *elsewhere, handler grpc.UnaryHandler) (any, error) {
	if isForwarded(ctx) {
		return nil, movedAway(away)
	}
	hopping, cancel := context.WithTimeout(ctx, away.patience)
	res, _, err := f.ask(hopping, away.owner.Address, method, req)
	cancel()
	switch {
	case err == nil:
		f.local.answered.read(fromPeer)
		return res, nil
	case isFinal(err):
		f.local.answered.read(fromPeer)
		return nil, err
	}
	return handler(context.WithValue(ctx, ownerAsked{}, err), req)
}

// ownerAsked is the key of the error that the owner answered with, or none came of: the store is read now.
type ownerAsked struct{}

// ask sends a request on. sent is false where it surely never left here: then it was not applied.
func (f *forwarding) ask(ctx context.Context, address, method string, req any) (res proto.Message, sent bool, err error) {
	if res, err = responseOf(method); err != nil {
		return nil, false, err
	}
	sent, err = f.peers.ask(ctx, address, method, req, res)
	return res, sent, err
}

// responseOf is an empty response of a method.
func responseOf(method string) (proto.Message, error) {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", method, err)
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name))
	t, err := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if err != nil {
		return nil, fmt.Errorf("forward %s: %w", method, err)
	}
	return t.New().Interface(), nil
}

// stream answers here, or relays what the owner sends.
func (f *forwarding) stream(srv any, s grpc.ServerStream, method string, handler grpc.StreamHandler) error {
	begun := &begunStream{ServerStream: s}
	err := handler(srv, begun)
	away, ok := errors.AsType[*elsewhere](err)
	switch {
	case !ok:
		return err
	case begun.sent || isForwarded(s.Context()):
		return movedAway(err)
	}
	err = f.relay(s, away.owner.Address, method, begun.request)
	if !away.watch {
		return err
	}
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Denied:
		return movedAway(err)
	case fault.Unavailable:
		if reason := fault.ReasonOf(err); reason != ReasonRebuilding && reason != fault.ReasonOf(rpc.ErrStopping()) {
			return movedAway(err)
		}
	}
	return err
}

// begunStream knows the first request of a stream, and whether it was answered.
type begunStream struct {
	grpc.ServerStream
	request any
	sent    bool
}

// RecvMsg implements grpc.ServerStream.
func (s *begunStream) RecvMsg(m any) error {
	if s.request == nil {
		s.request = m
	}
	return s.ServerStream.RecvMsg(m)
}

// SendMsg implements grpc.ServerStream.
func (s *begunStream) SendMsg(m any) error {
	s.sent = true
	return s.ServerStream.SendMsg(m)
}

// relay sends a request on that is answered by a stream, and passes on what comes, until that ends.
func (f *forwarding) relay(out grpc.ServerStream, address, method string, req any) error {
	conn, err := f.peers.conn(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(outgoing(out.Context()))
	defer cancel(nil)
	go func() {
		select {
		case <-f.local.stopping:
			cancel(rpc.ErrStopping())
		case <-ctx.Done():
		}
	}()
	in, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(in.SendMsg(req), in.CloseSend()); err != nil && !errors.Is(err, io.EOF) { // the end has the reason
		return fault.FromGRPC(err)
	}
	for {
		res, err := responseOf(method)
		if err != nil {
			return err
		}
		switch err := in.RecvMsg(res); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return errors.Join(context.Cause(ctx), err)
		}
		if err := out.SendMsg(res); err != nil {
			return err
		}
	}
}

// sentOn marks a request that a peer sent on: it is answered where it arrives or not at all.
const sentOn = "tollgate-forwarded"

// isForwarded is whether a peer sent the request on.
func isForwarded(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, sentOn)) > 0
}
