package receipts

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	deliveries "github.com/tollgate/tollgate/pkg/delivery"
)

var base = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func sec(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }

// id is that of the nth delivery, planned at second n.
func id(n int) string {
	return deliveries.NewID(sec(n), "t", "s", "x", fmt.Sprint(n), "n", "a", "", "e")
}

// story is a chain of ordered deliveries 1 to n to one endpoint, each settled as it is written at its second.
func story(settlements ...string) []Attempt {
	var all []Attempt
	for i, s := range settlements {
		n := i + 1
		end := sec(n)
		a := Attempt{Delivery: id(n), Endpoint: "e", Sequence: int64(n), Number: 1, Recorded: end, Answered: &end, Settlement: s}
		if n > 1 {
			a.Previous = id(n - 1)
		}
		if s != "delivered" && s != "" {
			a.Number, a.Reason = 0, "because"
		}
		all = append(all, a)
	}
	return all
}

func receipt(n, second int) Receipt {
	r := Receipt{ID: id(n), Sequence: Sequence(n), ReceivedAt: sec(second)}
	if n > 1 {
		r.Previous = id(n - 1)
	}
	return r
}

func verify(attempts []Attempt, receipts ...Receipt) Report {
	v := NewVerifier()
	for _, a := range attempts {
		v.Take(a)
	}
	return v.Verify(receipts)
}

func TestVerify_FindsWhatIsLostRepeatedAndOutOfOrder(t *testing.T) {
	three := []string{"delivered", "delivered", "delivered"}
	repeated := story(three...)
	repeated[1].RepeatedRequest = true
	retried := append([]Attempt{{Delivery: id(2), Endpoint: "e", Sequence: 2, Previous: id(1), Number: 1, Recorded: sec(2)}}, story(three...)...)
	other := append(story(three...), Attempt{Delivery: id(9), Endpoint: "other", Number: 1, Recorded: sec(2), Settlement: "delivered"})
	for _, c := range []struct {
		name     string
		attempts []Attempt
		receipts []Receipt
		want     func(*Report)
	}{
		{"all in order", story(three...), []Receipt{receipt(1, 1), receipt(2, 2), receipt(3, 3)},
			func(r *Report) { r.Received = 3 }},
		{"one answered 2xx is not in the log", story(three...), []Receipt{receipt(1, 1), receipt(3, 3)},
			func(r *Report) { r.Received, r.Lost = 2, []Finding{{ID: id(2)}} }},
		{"a dead one is an explained gap", story("delivered", "dead", "delivered"), []Receipt{receipt(1, 1), receipt(3, 3)},
			func(r *Report) { r.Received, r.Gaps["dead (because)"] = 2, 1 }},
		{"gaps of several in a row", story("delivered", "expired", "superseded", "delivered"), []Receipt{receipt(1, 1), receipt(4, 4)},
			func(r *Report) { r.Received, r.Gaps["expired (because)"], r.Gaps["superseded (because)"] = 2, 1, 1 }},
		{"one sent before the one before it was settled", story("delivered", "", "delivered"), []Receipt{receipt(1, 1), receipt(3, 3)},
			func(r *Report) { r.Received, r.Waiting, r.Unexplained = 2, 1, []Finding{{ID: id(2)}} }},
		{"first receipts out of order", story(three...), []Receipt{receipt(1, 1), receipt(3, 2), receipt(2, 3)},
			func(r *Report) { r.Received, r.OutOfOrder = 3, []Finding{{ID: id(3)}} }},
		{"out of order over a gap", story("delivered", "dead", "delivered"), []Receipt{receipt(3, 2), receipt(1, 3)},
			func(r *Report) { r.Received, r.Gaps["dead (because)"], r.OutOfOrder = 2, 1, []Finding{{ID: id(3)}} }},
		{"a repeat that comes late is no disorder", retried, []Receipt{receipt(1, 1), receipt(2, 2), receipt(3, 3), receipt(2, 4)},
			func(r *Report) { r.Received, r.Repeats.Attempts = 3, 1 }},
		{"a request repeated in its attempt", repeated, []Receipt{receipt(1, 1), receipt(2, 2), receipt(2, 2), receipt(3, 3)},
			func(r *Report) { r.Received, r.Repeats.Attempts = 3, 1 }},
		{"a repeat without a record", story(three...), []Receipt{receipt(1, 1), receipt(1, 1), receipt(2, 2), receipt(3, 3)},
			func(r *Report) { r.Received, r.Repeats.InFlight = 3, 1 }},
		{"a receipt without a record", story(three...), []Receipt{receipt(1, 1), receipt(2, 2), receipt(3, 3), receipt(4, 4)},
			func(r *Report) { r.Received, r.Unrecorded = 3, []Finding{{ID: id(4)}} }},
		{"another sequence than recorded", story(three...), []Receipt{receipt(1, 1), {ID: id(2), Sequence: 7, ReceivedAt: sec(2)}, receipt(3, 3)},
			func(r *Report) { r.Received, r.Differing = 3, []Finding{{ID: id(2)}} }},
		{"a log that begins later", story(three...), []Receipt{receipt(3, 300)},
			func(r *Report) { r.Received, r.Outside = 1, 2 }},
		{"an export that begins later", story(three...)[1:], []Receipt{receipt(2, 2), receipt(3, 3)},
			func(r *Report) { r.Received, r.Outside = 2, 1 }},
		{"a hole in the export", append(story(three...)[:1:1], story(three...)[2]), []Receipt{receipt(1, 1), receipt(3, 3)},
			func(r *Report) { r.Received, r.Unexplained = 2, []Finding{{ID: id(2)}} }},
		{"other endpoints do not count", other, []Receipt{receipt(1, 1), receipt(2, 2), receipt(3, 3)},
			func(r *Report) { r.Received = 3 }},
		{"an empty log", story(three...), nil, func(*Report) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := Report{Receipts: len(c.receipts), Gaps: map[string]int{}}
			c.want(&want)
			got := verify(c.attempts, c.receipts...)
			for _, found := range []*[]Finding{&got.Lost, &got.Unexplained, &got.OutOfOrder, &got.Differing, &got.Unrecorded} {
				for i, f := range *found {
					if f.Detail == "" {
						t.Errorf("%s has no detail", f.ID)
					}
					(*found)[i] = Finding{ID: f.ID}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if ok := len(want.Lost)+len(want.Unexplained)+len(want.OutOfOrder)+len(want.Differing)+len(want.Unrecorded) == 0; got.OK() != ok {
				t.Errorf("OK is %t", got.OK())
			}
		})
	}
}

// The order of attempts in an export, which is by partition, does not matter.
func TestVerify_DoesNotDependOnTheOrderOfTheExport(t *testing.T) {
	attempts := story("delivered", "dead", "delivered", "", "delivered", "delivered")
	receipts := []Receipt{receipt(1, 1), receipt(5, 2), receipt(3, 3), receipt(3, 4)}
	want := verify(attempts, receipts...)
	for range 20 {
		rand.Shuffle(len(attempts), func(i, j int) { attempts[i], attempts[j] = attempts[j], attempts[i] })
		if diff := cmp.Diff(want, verify(attempts, receipts...)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestRead_NamesEveryFaultyLine(t *testing.T) {
	got, err := ReadReceipts(strings.NewReader("\ufeff" + `{"id":"a","sequence":"0000000000000000007","received_at":"2026-11-01T12:00:00Z"}

{"id":"b","sequence":null,"previous":"a","received_at":"2026-11-01T12:00:00+01:00"}
`))
	if err != nil || len(got) != 2 || got[0].Sequence != 7 {
		t.Fatal(got, err)
	}

	_, err = ReadReceipts(strings.NewReader(`{"id":"a"}
{"id":"a","sequence":-1,"received_at":"2026-11-01T12:00:00Z"}
{"id":"a","received_at":"yesterday"}
x
` + strings.Repeat("y\n", 30)))
	for _, want := range []string{"line 1: id and received_at", "line 2: sequence", "line 3:", "line 4:", "14 more lines"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
	if err := ReadAttempts(strings.NewReader(`{"id":"a"}`), func(Attempt) {}); err == nil || !strings.Contains(err.Error(), "is this an export") {
		t.Error(err)
	}
	if _, err := ReadReceipts(strings.NewReader(strings.Repeat("z", maxLine+1))); err == nil {
		t.Error("a line above the bound is read")
	}
}
