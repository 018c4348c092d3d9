package rpc

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/tap"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// open are the services that answer without a key: they return only what the public proto files contain, and the health
// of the process.
var open = map[string]bool{
	"grpc.health.v1.Health":                    true,
	"grpc.reflection.v1.ServerReflection":      true,
	"grpc.reflection.v1alpha.ServerReflection": true,
}

type callKey struct{}

// call is what the headers have about one call, and the memory it holds.
type call struct {
	// caller is nil on an open method.
	caller *access.Caller
	method string
	// refusals counts what is refused of it; nil where nothing is counted. address is that of the caller where no peer of
	// gRPC has it.
	refusals *Refusals
	address  string
	// ended is closed when the caller's key is no longer good for what is under way; nil where that never happens.
	ended  <-chan struct{}
	open   bool
	stream bool
	hold   *Hold
}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Caller identifies the caller: the beginning of the key's hash, empty on an open method.
func Caller(ctx context.Context) string {
	if c := CallerOf(ctx); c != nil {
		return c.ID
	}
	return ""
}

// FromService reports that the caller's key is in service_key_hashes_file: a service of this installation, which may
// see secrets.
func FromService(ctx context.Context) bool {
	c := CallerOf(ctx)
	return c != nil && c.Service
}

// admit is the tap of grpc-go: it checks the headers of a call before a stream is made and before anything else of the
// call is read. A method is open only if it is in the table.
func (s *Server) admit(ctx context.Context, info *tap.Info) (context.Context, error) {
	service, _, _ := strings.Cut(strings.TrimPrefix(info.FullMethodName, "/"), "/")
	c := &call{open: open[service], hold: s.budget.Hold()}
	if !c.open {
		authorization := ""
		if values := info.Header.Get("authorization"); len(values) == 1 {
			authorization = values[0]
		}
		var err error
		if c.caller, c.ended, err = s.authorizer.Authenticate(authorization); err == nil {
			err = access.Authorize(c.caller, info.FullMethodName)
		}
		if err != nil {
			s.authorizer.RefuseHeaders(ctx, info.FullMethodName, "", authorization, c.caller, err)
			s.outcomes.refused(ctx, info.FullMethodName, err)
			return ctx, fault.Status(err).Err()
		}
		c.method, c.refusals = info.FullMethodName, s.authorizer.refusals
	}
	return context.WithValue(ctx, callKey{}, c), nil
}

var errNotAdmitted = errors.New("the call was not admitted")

// RegisterService makes Server a grpc.ServiceRegistrar; the generated Register…Server functions take it. It wraps the
// methods: this package receives the messages, and every result becomes a status, a metric and, after a failure, a log
// line.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, m := range desc.Methods {
		d.Methods[i] = grpc.MethodDesc{MethodName: m.MethodName, Handler: s.unary("/"+d.ServiceName+"/"+m.MethodName, m.Handler)}
	}
	d.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, m := range desc.Streams {
		d.Streams[i] = m
		d.Streams[i].Handler = s.streaming("/"+d.ServiceName+"/"+m.StreamName, m.Handler)
	}
	s.grpc.RegisterService(&d, impl)
}

func (s *Server) unary(method string, handler grpc.MethodHandler) grpc.MethodHandler {
	return func(srv any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (res any, err error) {
		defer s.outcomes.settle(ctx, method, time.Now(), &err)
		c, err := s.begin(ctx)
		if err != nil {
			return nil, err
		}
		defer s.end(c)
		if _, bounded := ctx.Deadline(); !bounded {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, s.cfg.CallTimeout)
			defer cancel()
		}
		return handler(srv, ctx, func(into any) error {
			err := s.receive(ctx, c, into)
			if errors.Is(err, io.EOF) {
				return fault.NewInvalid(reason.Undecodable, fault.Violation{Description: "the message is missing"})
			}
			return err
		}, nil)
	}
}

func (s *Server) streaming(method string, handler grpc.StreamHandler) grpc.StreamHandler {
	return func(srv any, of grpc.ServerStream) (err error) {
		defer s.outcomes.settle(of.Context(), method, time.Now(), &err)
		c, err := s.begin(of.Context())
		if err != nil {
			return err
		}
		c.stream = true
		defer s.end(c)
		ctx, cancel := context.WithCancelCause(of.Context())
		defer cancel(nil)
		go func() {
			select {
			case <-s.cut:
				cancel(errStopping)
			case <-c.ended:
				grace := time.NewTimer(keyGrace)
				defer grace.Stop()
				select {
				case <-grace.C:
					cancel(errKeyEnded)
				case <-ctx.Done():
				}
			case <-ctx.Done():
			}
		}()
		err = handler(srv, &stream{ServerStream: of, ctx: ctx, server: s, call: c})
		for _, cause := range []error{errStopping, errKeyEnded} {
			if err != nil && errors.Is(context.Cause(ctx), cause) {
				return cause
			}
		}
		return err
	}
}

// Bounds of the calls under way, over all connections: each may have a window of bytes that were not read yet. Calls
// with a key and calls of open methods have separate bounds, so that neither takes the place of the other.
const (
	maxCalls     = 2000
	maxOpenCalls = 1000
)

// begin starts an admitted call unless too many are under way.
func (s *Server) begin(ctx context.Context) (*call, error) {
	c := callOf(ctx)
	if c == nil {
		return nil, errNotAdmitted
	}
	under, most := s.counter(c)
	if under.Add(1) > most {
		under.Add(-1)
		return nil, errBusy
	}
	return c, nil
}

func (s *Server) counter(c *call) (under *atomic.Int64, most int64) {
	if c.open {
		return &s.openCalls, maxOpenCalls
	}
	return &s.calls, maxCalls
}

func (s *Server) end(c *call) {
	under, _ := s.counter(c)
	under.Add(-1)
	c.hold.Close()
}

var errStopping = fault.New(fault.Unavailable, reason.Stopping, "this replica is stopping, call again")

// ErrStopping is the error of a stream that ends because of Stopping.
func ErrStopping() error { return errStopping }

// HoldOf is the Hold of the call of ctx, for the memory that its handler needs; it is released when the call ends.
func HoldOf(ctx context.Context) *Hold {
	if c := callOf(ctx); c != nil {
		return c.hold
	}
	return unbounded.Hold()
}

// unbounded is for handlers that are called without a server.
var unbounded = &Budget{limit: math.MaxInt64}
