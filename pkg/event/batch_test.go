package event_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

func TestParseBatch_OneBadEventRefusesNoOther(t *testing.T) {
	good, bad := structured(t, nil), structured(t, map[string]string{"id": ""})
	parsed, err := event.ParseBatch([]byte("["+string(good)+","+string(bad)+",7,"+string(good)+"]"), 4, event.ParseJSON)
	if err != nil || len(parsed) != 4 {
		t.Fatal(len(parsed), err)
	}
	for i, wrong := range []bool{false, true, true, false} {
		if (parsed[i].Err != nil) != wrong {
			t.Errorf("event %d: %v", i, parsed[i].Err)
		}
	}
}

// Eight mebibytes of "0," took a gibibyte: each was parsed before they were counted.
func TestParseBatch_RefusesTooManyBeforeAnyIsParsed(t *testing.T) {
	calls := 0
	parse := func([]byte) (*event.Event, error) { calls++; return nil, nil }
	for body, want := range map[string]string{
		"[" + strings.Repeat("0,", 1<<19) + "0]": reason.BatchTooLarge,
		"[0,0,0,0]":                              reason.BatchTooLarge,
		"[0,0,0":                                 reason.Undecodable,
		"[0,0,0] 1":                              reason.Undecodable,
		"[0,,0]":                                 reason.Undecodable,
		"null":                                   reason.Undecodable,
		"":                                       reason.Undecodable,
	} {
		if parsed, err := event.ParseBatch([]byte(body), 3, parse); parsed != nil || fault.ReasonOf(err) != want {
			t.Errorf("%.20s: %v", body, err)
		}
	}
	if calls != 0 {
		t.Errorf("%d events of refused batches were parsed", calls)
	}
	if parsed, err := event.ParseBatch([]byte(" [0, 0, 0] "), 3, parse); len(parsed) != 3 || err != nil || calls != 3 {
		t.Errorf("as many as are allowed: %d, %v", len(parsed), err)
	}
	if parsed, err := event.ParseBatch([]byte("[]"), 3, parse); len(parsed) != 0 || err != nil {
		t.Errorf("none: %v", err)
	}
}
