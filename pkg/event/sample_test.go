package event

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

func TestSample_OfEveryTypeIsValidAndTheSameAgain(t *testing.T) {
	at := time.Date(2026, 3, 14, 12, 0, 0, 123_456_789, time.UTC)
	for _, known := range Types() {
		e, ok := Sample(known.Name, "acme", "sample-1", at)
		if !ok {
			t.Errorf("%s is not known", known.Name)
			continue
		}
		if err := e.Validate(); err != nil {
			t.Errorf("%s: %v", known.Name, err)
		}
		if proto.Size(e.Data) == 0 {
			t.Errorf("%s has no data", known.Name)
		}
		if again, _ := Sample(known.Name, "acme", "sample-1", at); !e.Equal(again) {
			t.Errorf("%s differs the second time", known.Name)
		}
	}
	if _, ok := Sample("no.such", "acme", "sample-1", at); ok {
		t.Error("a type that is not known has a sample")
	}
}
