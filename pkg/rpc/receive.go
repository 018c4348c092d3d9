package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	header, err := s.header(c, from)
	if err != nil {
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
	raw, err := s.content(c, from, int(size))
	if err != nil {
		return cutOff(err)
	}
	defer raw.Free()
	weight, err := wire.Weigh(raw.ReadOnlyData(), message)
	if most := s.cfg.MaxHeldBytes / 2; err == nil && weight > most {
		err = fmt.Errorf("would take %d bytes of memory, at most %d are given to one", weight, most)
	}
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

// header is the five bytes before a message. A stream waits for them as long as it likes.
func (s *Server) header(c *call, from frames) ([]byte, error) {
	header := make([]byte, 5)
	if c.stream {
		return header, from.ReadMessageHeader(header)
	}
	return header, s.timely(c, func() error { return from.ReadMessageHeader(header) })
}

// content reads a message's bytes, in one piece.
func (s *Server) content(c *call, from frames, size int) (whole mem.Buffer, err error) {
	var all mem.BufferSlice
	if err := s.timely(c, func() (err error) { all, err = from.Read(size); return err }); err != nil {
		return nil, err
	}
	defer all.Free()
	return all.MaterializeToBuffer(mem.DefaultBufferPool()), nil
}

// openPatience is how long a message to an open method may take to come.
const openPatience = 5 * time.Second

// timely runs read, which waits for the caller, and leaves it where that takes longer than CallTimeout, whatever deadline
// the caller has: meanwhile what he sent is held. What is left ends with the call.
func (s *Server) timely(c *call, read func() error) error {
	patience := s.cfg.CallTimeout
	if c.open {
		patience = min(patience, openPatience)
	}
	done := make(chan error, 1)
	go func() { done <- read() }()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return status.Error(codes.DeadlineExceeded, "the message did not come in time")
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
