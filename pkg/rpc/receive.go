package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/wire"
)

// frames is the part of grpc-go's transport that yields the length of a message before its content. grpc-go's own
// receiving reads and decodes a message before it can be rejected.
type frames interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
}

// receive receives the caller's next message: its length is checked against the bound and the budget before its content
// is read, and its fields are counted before it is decoded. io.EOF: there are no more messages.
func (s *Server) receive(ctx context.Context, c *call, into any) error {
	from, ok := grpc.ServerTransportStreamFromContext(ctx).(frames)
	message, isProto := into.(proto.Message)
	if !ok || !isProto {
		return errors.New("this version of grpc-go does not let messages be received")
	}
	c.hold.Release() // of the message before
	header, err := s.header(c, from)
	if err != nil {
		return streamEnd(err)
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
	// Counted twice: for the message and for what is made of it.
	if err := s.take(c, 2*size); err != nil {
		return err
	}
	raw, err := s.content(c, from, int(size))
	if err != nil {
		return streamEnd(err)
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
		return fault.NewInvalid(reason.Undecodable, fault.Violation{Description: "the message " + err.Error()})
	}
	return access.CheckTenant(c.caller, c.method, message)
}

// openBytes bounds a message to an open method; none needs more.
const openBytes = 4 << 10

// take takes from the budget, except for open methods, which must always answer.
func (s *Server) take(c *call, n int64) error {
	if c.open {
		return nil
	}
	return c.hold.Take(n)
}

// header reads the five bytes before a message. A stream waits for them without a bound.
func (s *Server) header(c *call, from frames) ([]byte, error) {
	header := make([]byte, 5)
	if c.stream {
		return header, from.ReadMessageHeader(header)
	}
	return header, s.withinCallTimeout(c, func() error { return from.ReadMessageHeader(header) })
}

// content reads the bytes of a message in one piece.
func (s *Server) content(c *call, from frames, size int) (whole mem.Buffer, err error) {
	var all mem.BufferSlice
	if err := s.withinCallTimeout(c, func() (err error) { all, err = from.Read(size); return err }); err != nil {
		return nil, err
	}
	defer all.Free()
	return all.MaterializeToBuffer(mem.DefaultBufferPool()), nil
}

// openMessageTimeout bounds the arrival of a message to an open method.
const openMessageTimeout = 5 * time.Second

// withinCallTimeout runs read, which waits for the caller, and abandons it after CallTimeout, whatever deadline the
// caller set: the received bytes are held meanwhile. An abandoned read ends with the call.
func (s *Server) withinCallTimeout(c *call, read func() error) error {
	patience := s.cfg.CallTimeout
	if c.open {
		patience = min(patience, openMessageTimeout)
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

// streamEnd is the error that ended a stream of messages; a caller that disconnects is not an error of the service.
func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Canceled, "the caller went away within a message")
}

// stream is a caller's stream with this package's context and receiving.
type stream struct {
	grpc.ServerStream
	ctx    context.Context
	server *Server
	call   *call
}

func (t *stream) Context() context.Context { return t.ctx }

func (t *stream) RecvMsg(into any) error { return t.server.receive(t.ctx, t.call, into) }
