package catalog_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/event/eventtest"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func TestBuiltIn_HasEveryTypeWithItsTokensFieldsAndExample(t *testing.T) {
	if n := len(catalog.BuiltIn()); n != len(event.Types()) {
		t.Errorf("%d types, the catalog has %d", n, len(event.Types()))
	}
	for i, known := range event.Types() {
		r := catalog.BuiltIn()[i]
		if r.GetName() != "eventTypes/"+known.Name || catalog.Find(r.GetName()) != r || r.GetEntity() != known.Entity || r.GetReserved() != known.Reserved {
			t.Errorf("%s is shown as %s of %s, reserved %t", known.Name, r.GetName(), r.GetEntity(), r.GetReserved())
		}
		if r.GetOperation() == configv1.EventOperation_EVENT_OPERATION_UNSPECIFIED || r.GetQueue() == configv1.EventQueue_EVENT_QUEUE_UNSPECIFIED {
			t.Errorf("%s: %v, %v", known.Name, r.GetOperation(), r.GetQueue())
		}
		if len(r.GetFields()) == 0 || r.GetDescription() == "" || r.GetExample() == "" {
			t.Errorf("%s: %d fields, described as %q, example %q", known.Name, len(r.GetFields()), r.GetDescription(), r.GetExample())
		}
		for _, token := range r.GetTokens() {
			if token.GetKind() == "" || token.GetDescription() == "" || !strings.HasPrefix(token.GetPath(), ".") {
				t.Errorf("%s: token %v", known.Name, token)
			}
			if isContact := strings.HasPrefix(token.GetPath(), ".Contact."); token.GetContact() != isContact || isContact && !token.GetPersonal() {
				t.Errorf("%s: token %v", known.Name, token)
			}
		}
	}
}

func TestExample_IsValidInEveryEncoding(t *testing.T) {
	for _, known := range event.Types() {
		want := catalog.Example(known)
		encodings, err := eventtest.Encodings(want, nil)
		if err != nil {
			t.Fatal(err)
		}
		shown := catalog.Find(catalog.Name(known.Name)).GetExample()
		encodings = append(encodings, eventtest.Encoding{Name: "as it is shown", Parse: func(p event.Parser) (*event.Event, error) { return p.JSON([]byte(shown)) }})
		for _, encoding := range encodings {
			got, err := encoding.Parse(event.Parser{})
			switch {
			case known.Reserved:
				if fault.ReasonOf(err) != reason.TypeReserved || len(fault.ViolationsOf(err)) != 2 {
					t.Errorf("%s, %s: %v", known.Name, encoding.Name, err)
				}
			case err != nil:
				t.Errorf("%s, %s: %v", known.Name, encoding.Name, err)
			}
			if !got.Equal(want) {
				t.Errorf("%s, %s: %+v, want %+v", known.Name, encoding.Name, got, want)
			}
		}
	}
}
