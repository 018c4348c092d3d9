package model

import (
	"fmt"
	"slices"
	"strings"
	"time"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Outcome is one record that must be published: an outcome, or the rejection of an event.
type Outcome struct {
	Subject string
	// Kind is the type behind "safeguard.", or "rejected".
	Kind   string
	Option eventv1.Safeguard_Option
	State  eventv1.Safeguard_State
	// Spent and limit, in billionths; Limited is false where there is no limit.
	Spent, Limit int64
	Limited      bool
	Currency     string
	Blocked      bool
	// Reasons of which one is given: where the rules leave it open there are several.
	Reasons []string
	// Cause is the id of the event or call behind it, empty for a timer.
	Cause string
	// At is the log's time, or the time at which the timer was due.
	At time.Time
	// Start and End of the period that it is about.
	Start, End time.Time
	Day        int
	// Percent and Amount of the threshold that an alert is about.
	Percent int32
	Amount  int64
	Second  bool
	// Overshoot and Late, in billionths.
	Overshoot, Late    int64
	Sequence, Previous int64
	// Forecast is when the limit will be reached; zero where it is not known.
	Forecast time.Time
	// Reference of the call that caused it.
	Reference string
	// Partition of the log in which an event was rejected. An event that was sent on to another number is rejected in
	// the partition of that number, under the first one: between partitions there is no order.
	Partition int32
	// Elsewhere is set where the model expects an event to be rejected under another number than it was sent to: between
	// that and what is rejected there is no order.
	Elsewhere bool
}

// String is all of it in a line.
func (s Outcome) String() string {
	words := []string{s.Subject, s.Kind}
	if s.Kind == "rejected" {
		return strings.Join(append(words, strings.Join(s.Reasons, "|"), "of", s.Cause), " ")
	}
	words = append(words, strings.ToLower(strings.TrimPrefix(s.Option.String(), "OPTION_")), strings.ToLower(strings.TrimPrefix(s.State.String(), "STATE_")))
	limit := "-"
	if s.Limited {
		limit = decimal(s.Limit)
	}
	words = append(words, decimal(s.Spent)+"/"+limit+" "+s.Currency, strings.Join(s.Reasons, "|"))
	if s.Blocked {
		words = append(words, "blocked")
	}
	switch s.Kind {
	case "alert":
		words = append(words, fmt.Sprintf("%d%% at %s second=%t", s.Percent, decimal(s.Amount), s.Second))
	case "overshoot":
		words = append(words, "by "+decimal(s.Overshoot))
	case "late":
		words = append(words, decimal(s.Late))
	}
	words = append(words, s.Start.Format("2006-01-02T15:04:05")+"–"+s.End.Format("2006-01-02T15:04:05"), fmt.Sprintf("day %d", s.Day))
	if s.Cause != "" {
		words = append(words, "by "+s.Cause)
	}
	return strings.Join(append(words, "at "+s.At.Format("2006-01-02T15:04:05.000"), fmt.Sprintf("#%d after #%d", s.Sequence, s.Previous)), " ")
}

func decimal(nanos int64) string {
	sign := ""
	if nanos < 0 {
		sign = "-"
	}
	whole, rest := nanos/Unit, nanos%Unit
	text := fmt.Sprintf("%s%d.%09d", sign, max(whole, -whole), max(rest, -rest))
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// Allows reports whether a reason is one of those that may be given.
func (s Outcome) Allows(reason string) bool { return slices.Contains(s.Reasons, reason) }
