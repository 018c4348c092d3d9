package model

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// ReadOutcome reads a record of the safeguards topic or of the rejected one. It has one reason.
func ReadOutcome(r stream.Record) (h Outcome, d *eventv1.Safeguard, err error) {
	e, err := event.Decode(r.Value)
	if err != nil {
		return h, nil, fmt.Errorf("read outcome: %w", err)
	}
	if reason, rejected := r.Header(event.HeaderReason); rejected {
		number, _ := r.Header(event.HeaderPartition)
		n, err := strconv.ParseInt(string(number), 10, 32)
		if err != nil {
			return h, nil, fmt.Errorf("read rejection: %w", err)
		}
		return Outcome{Subject: e.Subject, Kind: "rejected", Cause: e.ID, Reasons: []string{string(reason)}, Partition: int32(n)}, nil, nil
	}
	d, ok := e.Data.(*eventv1.Safeguard)
	if !ok {
		return h, nil, fmt.Errorf("read outcome: %s is none", e.Type)
	}
	nanos := func(m *money.Money) int64 {
		n, ok := Nanos(m)
		if !ok {
			err = fmt.Errorf("read outcome %s: %v is no amount", e.ID, m)
		}
		return n
	}
	h = Outcome{
		Subject: e.Subject, Kind: strings.TrimPrefix(e.Type, "safeguard."), Option: d.GetOption(), State: d.GetState(), Spent: nanos(d.GetSpent()),
		Limit: nanos(d.GetLimit()), Limited: d.GetLimit() != nil, Currency: d.GetSpent().GetCurrencyCode(), Blocked: d.GetBlocked(),
		Reasons: []string{d.GetReason()}, Cause: d.GetCause().GetEvent().GetId(), At: e.Time, Start: d.GetPeriodStart().AsTime(),
		End: d.GetPeriodEnd().AsTime(), Day: int(d.GetRenewalDay()), Percent: d.GetThreshold().GetPercent(), Amount: nanos(d.GetThreshold().GetAmount()),
		Second: d.GetThreshold().GetSecondNotice(), Overshoot: nanos(d.GetOvershoot()), Late: nanos(d.GetLate()),
		Sequence: d.GetSequence(), Previous: d.GetPreviousSequence(), Reference: d.GetTransactionReference(),
	}
	if d.GetForecast() != nil {
		h.Forecast = d.GetForecast().AsTime()
	}
	return h, d, err
}

// Differs lists in what a published outcome is not the expected one; empty where they are the same.
func (s Outcome) Differs(h Outcome) string {
	var all []string
	differ := func(name string, want, got any) {
		if want != got {
			all = append(all, fmt.Sprintf("%s is %v, want %v", name, got, want))
		}
	}
	differ("subject", s.Subject, h.Subject)
	differ("kind", s.Kind, h.Kind)
	differ("cause", s.Cause, h.Cause)
	if len(h.Reasons) != 1 || !s.Allows(h.Reasons[0]) {
		differ("reason", strings.Join(s.Reasons, " or "), strings.Join(h.Reasons, ","))
	}
	if s.Kind == "rejected" {
		return strings.Join(all, "; ")
	}
	differ("option", s.Option, h.Option)
	differ("state", s.State, h.State)
	differ("spent", decimal(s.Spent), decimal(h.Spent))
	differ("limited", s.Limited, h.Limited)
	if s.Limited {
		differ("limit", decimal(s.Limit), decimal(h.Limit))
	}
	differ("currency", s.Currency, h.Currency)
	differ("blocked", s.Blocked, h.Blocked)
	differ("time", s.At.UnixMilli(), h.At.UnixMilli())
	differ("period start", s.Start.UTC(), h.Start.UTC())
	differ("period end", s.End.UTC(), h.End.UTC())
	differ("day", s.Day, h.Day)
	differ("percent", s.Percent, h.Percent)
	differ("threshold", decimal(s.Amount), decimal(h.Amount))
	differ("second notice", s.Second, h.Second)
	differ("overshoot", decimal(s.Overshoot), decimal(h.Overshoot))
	differ("late", decimal(s.Late), decimal(h.Late))
	differ("sequence", s.Sequence, h.Sequence)
	differ("previous sequence", s.Previous, h.Previous)
	differ("reference", s.Reference, h.Reference)
	differ("forecast", s.Forecast, h.Forecast)
	return strings.Join(all, "; ")
}

// Wrong is a difference between what was expected and what was published.
type Wrong struct {
	// Lost was expected and not published; Doubled was published and not expected. What was published otherwise is both.
	Lost, Doubled bool
	Text          string
}

// String describes the difference.
func (w Wrong) String() string { return w.Text }

// Compare compares what was published, in order and without repeats, with what was expected: the outcomes of each subject in
// their order, and likewise its rejections in each partition; those of an event that is rejected elsewhere by themselves. It
// returns the first difference of each: the rest follows from it.
func Compare(expected, published []Outcome) (wrong []Wrong) {
	type chain struct {
		subject   string
		rejected  bool
		partition int32
		cause     string
	}
	elsewhere := map[string]bool{}
	for _, s := range expected {
		if s.Elsewhere {
			elsewhere[s.Cause] = true
		}
	}
	chains := map[chain][2][]Outcome{}
	var order []chain
	put := func(which int, all []Outcome) {
		for _, s := range all {
			at := chain{s.Subject, s.Kind == "rejected", s.Partition, ""}
			if at.rejected && elsewhere[s.Cause] {
				at.cause = s.Cause
			}
			c, known := chains[at]
			if !known {
				order = append(order, at)
			}
			c[which] = append(c[which], s)
			chains[at] = c
		}
	}
	put(0, expected)
	put(1, published)
	for _, at := range order {
		want, got := ordered(chains[at][0]), ordered(chains[at][1])
		for i := range max(len(want), len(got)) {
			switch {
			case i >= len(got):
				wrong = append(wrong, Wrong{true, false, fmt.Sprintf("never published: %s", want[i])})
			case i >= len(want):
				wrong = append(wrong, Wrong{false, true, fmt.Sprintf("published and not expected: %s", got[i])})
			default:
				if d := want[i].Differs(got[i]); d != "" {
					wrong = append(wrong, Wrong{true, true, fmt.Sprintf("the %dth about %s: %s\n    want %s\n    got  %s", i+1, at.subject, d, want[i], got[i])})
				} else {
					continue
				}
			}
			break
		}
	}
	return wrong
}

// ordered puts alerts of one event for the same amount into an order: which of them comes first is left open.
func ordered(chain []Outcome) []Outcome {
	chain = slices.Clone(chain)
	same := func(a, b Outcome) bool {
		return a.Kind == "alert" && b.Kind == "alert" && a.Cause == b.Cause && a.Option == b.Option && a.Amount == b.Amount
	}
	for from := 0; from < len(chain); {
		to := from + 1
		for to < len(chain) && same(chain[from], chain[to]) {
			to++
		}
		// Only the fields in which they differ change places.
		names := slices.Clone(chain[from:to])
		slices.SortFunc(names, func(a, b Outcome) int { return cmp.Compare(a.Percent, b.Percent) })
		slices.SortStableFunc(names, func(a, b Outcome) int {
			switch {
			case a.Second == b.Second:
				return 0
			case b.Second:
				return -1
			default:
				return 1
			}
		})
		for i, n := range names {
			chain[from+i].Percent, chain[from+i].Second = n.Percent, n.Second
		}
		from = to
	}
	return chain
}
