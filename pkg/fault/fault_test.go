package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestKindOf_FindsAWrappedFault(t *testing.T) {
	inner := New(NotFound, "SUBSCRIBER_NOT_FOUND", "no subscriber in tenant %q: %w", "acme", io.EOF)
	err := fmt.Errorf("load record: %w", inner)
	if KindOf(err) != NotFound || ReasonOf(err) != "SUBSCRIBER_NOT_FOUND" {
		t.Errorf("kind %v, reason %q", KindOf(err), ReasonOf(err))
	}
	if !errors.Is(err, io.EOF) || !errors.Is(err, inner) {
		t.Error("the cause or the fault is lost from the chain")
	}
	if want := `load record: SUBSCRIBER_NOT_FOUND: no subscriber in tenant "acme": EOF`; err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
	two := New(Unavailable, "BOTH_AWAY", "%w and %w", io.EOF, io.ErrUnexpectedEOF)
	if !errors.Is(two, io.EOF) || !errors.Is(two, io.ErrUnexpectedEOF) {
		t.Error("one of two causes is lost")
	}
	if KindOf(io.EOF) != Internal || ReasonOf(io.EOF) != "" || KindOf(nil) != Internal {
		t.Error("an ordinary error has a kind or a reason")
	}
}

func TestWith_LeavesTheOriginalUnchanged(t *testing.T) {
	base := New(Precondition, "STATE_NOT_ELIGIBLE", "no").With("eligibleStates", "active")
	more := base.With("state", "inactive").After(time.Second)
	if len(base.Metadata) != 1 || base.RetryAfter != 0 {
		t.Errorf("the original changed: %v %v", base.Metadata, base.RetryAfter)
	}
	if len(more.Metadata) != 2 || more.RetryAfter != time.Second {
		t.Errorf("the copy lacks something: %v %v", more.Metadata, more.RetryAfter)
	}
}

func TestFromGRPC_RestoresAFault(t *testing.T) {
	for kind, code := range map[Kind]codes.Code{
		Invalid: codes.InvalidArgument, NotFound: codes.NotFound, AlreadyExists: codes.AlreadyExists,
		Conflict: codes.Aborted, Throttled: codes.ResourceExhausted, Unavailable: codes.Unavailable,
		Unauthenticated: codes.Unauthenticated, Denied: codes.PermissionDenied,
		Precondition: codes.FailedPrecondition,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			sent := NewInvalid("CONFIG_INVALID", Violation{Field: "url", Description: "must be https"}, Violation{Field: "", Description: "too large"})
			sent.Kind = kind
			sent = sent.With("limit", "7").After(1500 * time.Millisecond)
			onWire := Status(fmt.Errorf("update endpoint: %w", sent))
			if onWire.Code() != code {
				t.Errorf("code %v, want %v", onWire.Code(), code)
			}
			got := FromGRPC(onWire.Err())
			if diff := cmp.Diff(sent, got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
				t.Error(diff)
			}
			if status.Code(got) != code {
				t.Errorf("code after the way back: %v", status.Code(got))
			}
		})
	}
}

func TestStatus_SendsTextOfFaultsOnly(t *testing.T) {
	tests := map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"no error is OK":                           {nil, codes.OK, ""},
		"an unknown error hides its text":          {errors.New("dial redis at 10.1.2.3"), codes.Internal, "internal error"},
		"a deadline is a deadline":                 {fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "x: context deadline exceeded"},
		"a status passes as it is":                 {status.Error(codes.Unimplemented, "no"), codes.Unimplemented, "no"},
		"a wrapped fault has only its own message": {fmt.Errorf("secret path: %w", New(Denied, "NOT_YOURS", "not yours")), codes.PermissionDenied, "not yours"},
		"text that is not UTF-8 keeps its code":    {New(Invalid, "BAD\xff", "bad"), codes.InvalidArgument, "bad"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			st := Status(tc.err)
			if st.Code() != tc.code || st.Message() != tc.text {
				t.Errorf("%v %q, want %v %q", st.Code(), st.Message(), tc.code, tc.text)
			}
		})
	}
}

func TestFromGRPC_KeepsErrorsWithoutKind(t *testing.T) {
	for _, err := range []error{io.EOF, status.Error(codes.Canceled, "x"), status.Error(codes.Unimplemented, "x")} {
		if got := FromGRPC(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
	if FromGRPC(nil) != nil {
		t.Error("nil became an error")
	}
	got := FromGRPC(status.Error(codes.Unavailable, "connection refused"))
	if KindOf(got) != Unavailable || ReasonOf(got) != "UNAVAILABLE" {
		t.Errorf("%v %q", KindOf(got), ReasonOf(got))
	}
}

func TestViolations_ListsEveryViolation(t *testing.T) {
	var f Violations
	if err := f.Err("CONFIG_INVALID"); err != nil {
		t.Fatalf("nothing is wrong, yet %v", err)
	}
	f.Add("code", "must be at most %d characters", 64)
	f.AddErr("endpoint", NewInvalid("URL_REFUSED", Violation{Field: "url", Description: "must be https"}, Violation{Field: "", Description: "too large"}))
	f.AddErr("zone", errors.New("unknown time zone Mars"))
	f.AddErr("limit", nil)
	err := f.Err("CONFIG_INVALID")
	want := []Violation{
		{Field: "code", Description: "must be at most 64 characters"}, {Field: "endpoint.url", Description: "must be https"}, {Field: "endpoint", Description: "too large"},
		{Field: "zone", Description: "unknown time zone Mars"},
	}
	if diff := cmp.Diff(want, ViolationsOf(err)); diff != "" || f.Len() != 4 {
		t.Errorf("%d violations: %s", f.Len(), diff)
	}
	if KindOf(err) != Invalid || ReasonOf(err) != "CONFIG_INVALID" {
		t.Errorf("kind %v, reason %q", KindOf(err), ReasonOf(err))
	}
}

func TestViolations_SharedReasonIsKept(t *testing.T) {
	var none, one, mixed, unnamed Violations
	if err := none.ErrShared("REQUEST_INVALID"); err != nil {
		t.Errorf("nothing is wrong, yet %v", err)
	}
	one.AddAs("AMOUNT_INVALID", "a", "must be above 0")
	one.AddAs("AMOUNT_INVALID", "b", "must be above 0")
	mixed.AddErr("", one.Err("X"))
	mixed.AddAs("NAME_INVALID", "name", "is empty")
	unnamed.AddAs("AMOUNT_INVALID", "a", "must be above 0")
	unnamed.Add("b", "must be there")
	for reason, f := range map[string]*Violations{"AMOUNT_INVALID": &one, "REQUEST_INVALID": &mixed} {
		if err := f.ErrShared("REQUEST_INVALID"); ReasonOf(err) != reason {
			t.Errorf("reason %q, want %q", ReasonOf(err), reason)
		}
	}
	if err := unnamed.ErrShared("REQUEST_INVALID"); ReasonOf(err) != "REQUEST_INVALID" {
		t.Errorf("reason %q", ReasonOf(err))
	}
	if got := ViolationsOf(FromGRPC(Status(mixed.ErrShared("REQUEST_INVALID")).Err())); len(got) != 3 || got[0].Reason != "AMOUNT_INVALID" || got[2].Reason != "NAME_INVALID" {
		t.Errorf("after the wire: %v", got)
	}
}

// The figure that the documents have.
func TestViolations_AreAsManyAsTheDocumentsAllow(t *testing.T) {
	page, err := os.ReadFile("../../deploy/docs/errors.md")
	if want := fmt.Sprintf("At most %d violations are named;", MaxViolations); err != nil || !strings.Contains(string(page), want) {
		t.Errorf("errors.md does not have %q (%v)", want, err)
	}
}
