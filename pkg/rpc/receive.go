package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/wire"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// frames is how grpc-go's transport gives what a caller sends: the length of a message before its content. Its own way of
// receiving reads and decodes a message before anybody can say no.
type frames interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
}

// receive is the caller's next message: its length is held against the bound and the budget before its content is asked
// for, its fields are counted before it is decoded. io.EOF says that no more follows.
func (s *Server) receive(ctx context.Context, c *call, into any) error {
	from, ok := grpc.ServerTransportStreamFromContext(ctx).(frames)
	message, isProto := into.(proto.Message)
	if !ok || !isProto {
		return errors.New("this version of grpc-go does not let messages be received")
	}
	c.hold.Release() // of the message before
	var header [5]byte
	if err := from.ReadMessageHeader(header[:]); err != nil {
		return cutOff(err)
	}
	if header[0] != 0 {
		return status.Error(codes.Unimplemented, "compressed messages are not taken")
	}
	size, bound := int64(binary.BigEndian.Uint32(header[1:])), int64(s.cfg.MaxMessageBytes)
	if c.open {
		bound = openBytes
	}
	if size > bound {
		return fault.New(fault.Throttled, "MESSAGE_TOO_LARGE", "a message must have at most %d bytes, this one has %d", bound, size)
	}
	// Once for itself, once for what is made of it.
	if err := s.take(c, 2*size); err != nil {
		return err
	}
	raw, err := s.content(from, int(size))
	if err != nil {
		return cutOff(err)
	}
	defer raw.Free()
	weight, err := wire.Weigh(raw.ReadOnlyData(), message)
	if err == nil {
		if err := s.take(c, weight); err != nil {
			return err
		}
		err = proto.Unmarshal(raw.ReadOnlyData(), message)
		if err != nil {
			err = wire.ErrMalformed
		}
	}
	if err != nil {
		return fault.NewInvalid("UNDECODABLE", fault.Violation{Description: "the message " + err.Error()})
	}
	return nil
}

// openBytes bounds a message to a method that is open to everybody: none has a use for more.
const openBytes = 4 << 10

// take is of the budget, but for open methods, which must answer in any state.
func (s *Server) take(c *call, n int64) error {
	if c.open {
		return nil
	}
	return c.hold.Take(n)
}

// content reads a message's bytes, in one piece. Whoever sends it slower than CallTimeout is not waited for, whatever
// deadline he has: meanwhile what he sent is held.
func (s *Server) content(from frames, size int) (mem.Buffer, error) {
	type read struct {
		all mem.BufferSlice
		err error
	}
	done := make(chan read, 1)
	go func() {
		// It ends with the call at the latest.
		all, err := from.Read(size)
		done <- read{all, err}
	}()
	timer := time.NewTimer(s.cfg.CallTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		defer r.all.Free()
		return r.all.MaterializeToBuffer(mem.DefaultBufferPool()), nil
	case <-timer.C:
		return nil, status.Error(codes.DeadlineExceeded, "the message did not come to its end in time")
	}
}

// cutOff is what ended a stream of messages; that a caller went away within one is nobody's fault here.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Canceled, "the caller went away within a message")
}

// stream is a caller's stream with a context of ours, whose messages are received by us.
type stream struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	call   *call
}

func (t *stream) Context() context.Context { return t.ctx }

func (t *stream) RecvMsg(into any) error { return t.server.receive(t.ctx, t.call, into) }
