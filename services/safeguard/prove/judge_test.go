package main

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/ledger"
)

// said is one record of a log, told as the service tells it.
func said(t *testing.T, id string, sequence, previous int64, told ledger.Told) stream.Record {
	t.Helper()
	data, err := anypb.New(&eventv1.Safeguard{
		Sequence: sequence, PreviousSequence: previous, Spent: euro(told.Spent), Blocked: told.Blocked, Overshoot: euro(told.Overshoot),
		Cause: &eventv1.Cause{Cause: &eventv1.Cause_Event{Event: &eventv1.EventReference{Id: told.Cause}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	value, err := proto.Marshal(&eventv1.Event{Id: id, Type: "safeguard." + told.Kind, Subject: "44", Data: data})
	if err != nil {
		t.Fatal(err)
	}
	return stream.Record{Value: value, Headers: []stream.Header{{Key: "ce_id", Value: []byte(id)}, {Key: "ce_type", Value: []byte("safeguard." + told.Kind)}}}
}

func TestEveryWayToBeWrongIsCounted(t *testing.T) {
	account := rule.Open("a")
	account.Charge("b", 45*ledger.Unit)
	account.Charge("c", 10*ledger.Unit)
	account.Refund("d", 10*ledger.Unit)
	// activated, alert, reached, overshoot, released
	log := func() []stream.Record {
		var all []stream.Record
		for i, told := range account.Told {
			all = append(all, said(t, fmt.Sprint("id-", i), int64(i+1), int64(i), told))
		}
		return all
	}
	for _, tc := range []struct {
		name                      string
		change                    func(log []stream.Record) []stream.Record
		lost, doubled, outOfOrder int
	}{
		{"what the model says is right", func(l []stream.Record) []stream.Record { return l }, 0, 0, 0},
		{"a repeat with the same bytes is right", func(l []stream.Record) []stream.Record { return append(l, l[1], l[3]) }, 0, 0, 0},
		{"an outcome that nobody was told is lost", func(l []stream.Record) []stream.Record { return l[:4] }, 1, 0, 0},
		{"one that is missing in the middle leaves a gap in the sequence too", func(l []stream.Record) []stream.Record { return slices.Delete(l, 1, 2) }, 1, 0, 1},
		{"one crossing under two ids is doubled", func(l []stream.Record) []stream.Record {
			return append(l, said(t, "other", 6, 5, account.Told[2]))
		}, 0, 1, 0},
		{"one id with two contents is doubled", func(l []stream.Record) []stream.Record {
			return append(l, said(t, "id-2", 3, 2, account.Told[1]))
		}, 0, 1, 0},
		{"another amount is one thing lost and another told", func(l []stream.Record) []stream.Record {
			wrong := account.Told[4]
			wrong.Spent++
			return append(l[:4], said(t, "id-4", 5, 4, wrong))
		}, 1, 1, 0},
		{"two that change places are out of order", func(l []stream.Record) []stream.Record {
			l[2], l[3] = l[3], l[2]
			return l
		}, 0, 0, 3}, // each of the two by its sequence, and one by the order of the model
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := &verdict{}
			if err := v.outcomes(tc.change(log()), map[string][]ledger.Told{"44": account.Told}); err != nil {
				t.Fatal(err)
			}
			if v.lost != tc.lost || v.doubled != tc.doubled || v.outOfOrder != tc.outOfOrder {
				t.Errorf("lost %d, doubled %d, out of order %d; want %d, %d, %d: %q", v.lost, v.doubled, v.outOfOrder, tc.lost, tc.doubled, tc.outOfOrder, v.examples)
			}
		})
	}
}
