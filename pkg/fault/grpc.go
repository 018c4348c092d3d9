package fault

import (
	"context"
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
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

// GRPCStatus is the fault on the wire: its code, google.rpc.ErrorInfo, BadRequest with every violation, and RetryInfo
// when a wait is known. gRPC calls it by itself, also on a fault that was wrapped.
func (e *Error) GRPCStatus() *status.Status {
	code, ok := codeOf[e.Kind]
	if !ok {
		code = codes.Internal
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: e.Reason, Domain: Domain, Metadata: e.Metadata}}
	if len(e.Violations) > 0 {
		bad := &errdetails.BadRequest{}
		for _, v := range e.Violations {
			bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
				Field: v.Field, Description: v.Description, Reason: v.Reason,
			})
		}
		details = append(details, bad)
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	st := status.New(code, e.Message)
	full, err := st.WithDetails(details...)
	if err != nil {
		// A detail that cannot be encoded (text that is not UTF-8) must not hide the code and the message.
		return st
	}
	return full
}

// Status is what a server answers for any error: the status of its fault, of its gRPC status or of its context; else
// INTERNAL without the error's text, which may name addresses, queries or secrets and belongs in the log.
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

// FromGRPC turns the error of a gRPC call back into the fault it was. Codes that have no kind (CANCELLED,
// DEADLINE_EXCEEDED, UNIMPLEMENTED …) and errors that carry no status are returned as they are. The status stays in the
// chain, so status.Code still works on the result.
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
	e := &Error{Kind: kind, Message: st.Message(), cause: err}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			e.Reason, e.Metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{Field: v.GetField(), Description: v.GetDescription(), Reason: v.GetReason()})
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
