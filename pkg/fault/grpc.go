package fault

import (
	"context"
	"errors"
	"maps"
	"math"
	"strconv"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/display"
)

// Domain is the domain of every google.rpc.ErrorInfo that leaves this system.
const Domain = "tollgate"

// In REST AlreadyExists, Conflict and Precondition are all 409; the usual gateway would make FAILED_PRECONDITION a 400.
var codeOf = map[Kind]codes.Code{
	Internal:        codes.Internal,
	Invalid:         codes.InvalidArgument,
	NotFound:        codes.NotFound,
	AlreadyExists:   codes.AlreadyExists,
	Conflict:        codes.Aborted,
	Throttled:       codes.ResourceExhausted,
	Unavailable:     codes.Unavailable,
	Unauthenticated: codes.Unauthenticated,
	Denied:          codes.PermissionDenied,
	Precondition:    codes.FailedPrecondition,
}

// kindOf is codeOf read backwards, plus the codes that other servers and gRPC itself answer with.
var kindOf = map[codes.Code]Kind{
	codes.InvalidArgument:    Invalid,
	codes.OutOfRange:         Invalid,
	codes.NotFound:           NotFound,
	codes.AlreadyExists:      AlreadyExists,
	codes.Aborted:            Conflict,
	codes.FailedPrecondition: Precondition,
	codes.ResourceExhausted:  Throttled,
	codes.Unavailable:        Unavailable,
	codes.Unauthenticated:    Unauthenticated,
	codes.PermissionDenied:   Denied,
}

// Bounds of a status on the wire. It is sent as trailers, of which clients take 8 KiB by default, our own among them.
const (
	// maxTrailers is for grpc-message, which escapes what is not ASCII, and grpc-status-details-bin, which is base64.
	maxTrailers = 4 << 10
	// maxBeside is for the message where violations stand beside it.
	maxBeside = 512
	maxAlone  = 768
	// names is what the names of both, the code and the base64's end take.
	names = 128
)

// omitted is the fact of ErrorInfo that counts the violations BadRequest does not name.
const omitted = "omittedViolations"

// GRPCStatus is the fault on the wire: its code, google.rpc.ErrorInfo, RetryInfo where a wait is set, and BadRequest
// with as many violations as fit into maxTrailers. gRPC calls it, also on a wrapped fault.
func (e *Error) GRPCStatus() *status.Status {
	code, ok := codeOf[e.Kind]
	if !ok {
		code = codes.Internal
	}
	message, most := e.Message, maxAlone
	if len(e.Violations) > 0 {
		most = maxBeside
	}
	if escaped(message) > most {
		if len(e.Violations) > 0 {
			message = listed(e.Violations, e.Omitted, most)
		}
		for size := most; escaped(message) > most; size /= 2 {
			message = display.Text(message, size)
		}
	}
	info := &errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: e.Metadata}
	details := []protoadapt.MessageV1{info}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	bare := status.New(code, message)
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		info.Metadata = maps.Clone(e.Metadata)
		if info.Metadata == nil {
			info.Metadata = map[string]string{}
		}
		// The longest count there is, until it is known.
		info.Metadata[omitted] = strconv.Itoa(math.MaxInt)
		left := (maxTrailers - names - escaped(message)) * 3 / 4
		if st, err := bare.WithDetails(append(details, bad)...); err == nil {
			left -= proto.Size(st.Proto())
		}
		for _, v := range e.Violations {
			next := &errdetails.BadRequest_FieldViolation{Field: v.Field, Description: v.Description, Reason: v.Reason}
			// Its tag and length, and what the lengths around it grow by.
			if left -= proto.Size(next) + 2*4; left < 0 {
				break
			}
			bad.FieldViolations = append(bad.FieldViolations, next)
		}
		if more := e.Omitted + len(e.Violations) - len(bad.FieldViolations); more > 0 {
			info.Metadata[omitted] = strconv.Itoa(more)
		} else {
			delete(info.Metadata, omitted)
		}
		details = append(details, bad)
	}
	full, err := bare.WithDetails(details...)
	if err != nil {
		// A detail that cannot be encoded (text that is not UTF-8) must not hide the code and the message.
		return bare
	}
	return full
}

// escaped is how long a message is as the value of grpc-message.
func escaped(message string) int {
	n := len(message)
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			n += 2
		}
	}
	return n
}

// Status is a server's status for any error: that of its fault, of its gRPC status or of its context; otherwise
// INTERNAL without the error's text, which may contain addresses, queries or secrets and belongs in the log.
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.GRPCStatus()
	}
	if st, ok := status.FromError(err); ok {
		return st
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err)
	}
	return status.New(codes.Internal, "internal error")
}

// FromGRPC turns the error of a gRPC call back into the fault it was. Codes without a kind (CANCELLED,
// DEADLINE_EXCEEDED, UNIMPLEMENTED …) and errors without a status are returned unchanged. The status stays in the
// chain, so status.Code works on the result.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	kind, ok := kindOf[st.Code()]
	if !ok {
		return err
	}
	e := &Error{Kind: kind, Message: display.Text(st.Message(), maxMessage), cause: err}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = display.Text(d.GetReason(), maxField), d.GetMetadata()
			if n, err := strconv.Atoi(e.Metadata[omitted]); err == nil && n > 0 {
				e.Omitted += n
				delete(e.Metadata, omitted)
			}
		case *errdetails.BadRequest:
			for i, v := range d.GetFieldViolations() {
				if i == MaxViolations {
					e.Omitted += len(d.GetFieldViolations()) - i
					break
				}
				e.Violations = append(e.Violations, Violation{Field: v.GetField(), Description: v.GetDescription(), Reason: v.GetReason()}.bounded())
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Reason == "" {
		// A server that is not ours, or gRPC itself (a broken connection): the code is all there is.
		e.Reason = reasonOf[st.Code()]
	}
	return e
}

var reasonOf = map[codes.Code]string{
	codes.InvalidArgument: "INVALID_ARGUMENT", codes.OutOfRange: "OUT_OF_RANGE", codes.NotFound: "NOT_FOUND",
	codes.AlreadyExists: "ALREADY_EXISTS", codes.Aborted: "ABORTED", codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.ResourceExhausted: "RESOURCE_EXHAUSTED", codes.Unavailable: "UNAVAILABLE",
	codes.Unauthenticated: "UNAUTHENTICATED", codes.PermissionDenied: "PERMISSION_DENIED",
}
