package fault

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// trailers is what a status takes in HTTP/2 trailers, by the rules of gRPC.
func trailers(t *testing.T, err error) int {
	t.Helper()
	p := Status(err).Proto()
	raw, e := proto.Marshal(p)
	if e != nil {
		t.Fatal(e)
	}
	n := len("grpc-status") + 2 + len("grpc-message") + len("grpc-status-details-bin") + base64.RawStdEncoding.EncodedLen(len(raw))
	for _, c := range []byte(p.GetMessage()) {
		if n++; c < ' ' || c > '~' || c == '%' {
			n += 2
		}
	}
	return n
}

// A hundred thousand empty actions once made a log line of 20 MB and a response that no client could read.
func TestViolations_KeepsFiftyAndCountsTheRest(t *testing.T) {
	for name, text := range map[string]string{
		"short": "is required", "long": strings.Repeat("x", 5000), "wide": strings.Repeat("世", 3000),
		"not text": strings.Repeat("\xff\x1b\u202e", 900), "empty": "",
	} {
		t.Run(name, func(t *testing.T) {
			var f, outer Violations
			for i := range 100_000 {
				field := fmt.Sprintf("actions[%d]", i)
				if i < 100 {
					field += "." + text
				}
				f.AddAs("WRONG", field, "%s", text)
			}
			outer.AddErr("notification", f.Err("CONFIG_INVALID"))
			outer.AddErr("again", errors.New(text))
			err := outer.ErrShared("CONFIG_INVALID")
			if outer.Len() != 100_001 || len(ViolationsOf(err)) != MaxViolations {
				t.Errorf("%d of %d faults are named", len(ViolationsOf(err)), outer.Len())
			}
			if ReasonOf(err) != "CONFIG_INVALID" {
				t.Errorf("one that was left out has another reason: %s", ReasonOf(err))
			}
			if n := len(err.Error()); n > maxMessage+64 || !utf8.ValidString(err.Error()) {
				t.Errorf("the text has %d bytes", n)
			}
			if n := trailers(t, err); n > maxTrailers {
				t.Errorf("the trailers have %d bytes", n)
			}
			got, ok := errors.AsType[*Error](FromGRPC(Status(err).Err()))
			if !ok || len(got.Violations) < 2 || got.Omitted+len(got.Violations) != 100_001 || got.Metadata[omitted] != "" {
				t.Fatalf("after the wire %d are named, %d counted", len(got.Violations), got.Omitted)
			}
			for _, v := range got.Violations {
				if !utf8.ValidString(v.String()) || strings.ContainsAny(v.String(), "\x1b\u202e\n") {
					t.Errorf("%q", v)
				}
			}
		})
	}
}

func TestNew_BoundsALongText(t *testing.T) {
	for _, unit := range []string{"x", "é", "世", "%", "\n", "\xff", "🙂"} {
		long := strings.Repeat(unit, 100_000)
		err := error(New(NotFound, "NOT_FOUND", "there is no %s: %w", long, errors.New(long)))
		if e, ok := errors.AsType[*Error](err); ok {
			for i := range 50 {
				e = e.With(fmt.Sprintf("fact%d", i), long)
			}
			err = e
		}
		if n := len(err.Error()); n > maxMessage+64 || !utf8.ValidString(err.Error()) {
			t.Errorf("%q: the text has %d bytes", unit, n)
		}
		if n := trailers(t, err); n > maxTrailers {
			t.Errorf("%q: the trailers have %d bytes", unit, n)
		}
		if got := FromGRPC(Status(err).Err()); ReasonOf(got) != "NOT_FOUND" {
			t.Errorf("%q: after the wire %v", unit, got)
		}
	}
}

func TestGRPCStatus_CarriesEveryViolationThatFits(t *testing.T) {
	var f Violations
	for i := range 20 {
		f.Add(fmt.Sprintf("actions[%d]", i), "is required")
	}
	got, _ := errors.AsType[*Error](FromGRPC(Status(f.Err("CONFIG_INVALID")).Err()))
	if len(got.Violations) != 20 || got.Omitted != 0 {
		t.Errorf("%d named, %d counted", len(got.Violations), got.Omitted)
	}
}
