package model

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// shown is what the inventory's three messages have in common.
type shown interface {
	GetState() eventv1.Safeguard_State
	GetCurrency() string
	GetSpent() *money.Money
	GetReached() bool
	GetEligibleStates() []eventv1.Safeguard_State
	GetRenewalDay() int32
	GetPeriodStart() *timestamppb.Timestamp
	GetPeriodEnd() *timestamppb.Timestamp
}

// Shown compares what the inventory shows of a subscriber with how its options must look.
func Shown(all *optionsv1.ListOptionsResponse, views [3]View) (wrong []string) {
	for i, v := range views {
		var got shown
		var limit *money.Money
		there := false
		switch Options[i] {
		case Data:
			d := all.GetDataSafeguard()
			got, limit, there = d, d.GetLimit(), d != nil
		case Overspend:
			d := all.GetOverspendSafeguard()
			got, limit, there = d, d.GetCurrentLimit(), d != nil
			if next := d.GetNextLimit(); there && v.Offered && ((next != nil) != v.HasNext || v.HasNext && nanosOf(next) != v.Next) {
				wrong = append(wrong, fmt.Sprintf("%s shows the next limit %v, by the model %d", Options[i], next, v.Next))
			}
		case Payment:
			d := all.GetPaymentSafeguard()
			got, limit, there = d, d.GetLimit(), d != nil
		}
		if there != v.Offered {
			wrong = append(wrong, fmt.Sprintf("%s is shown: %t, by the model: %t", Options[i], there, v.Offered))
		}
		if !there || !v.Offered {
			continue
		}
		differ := func(what string, got, want any) {
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s shows %s %v, by the model %v", Options[i], what, got, want))
			}
		}
		differ("state", got.GetState(), v.State)
		differ("currency", got.GetCurrency(), v.Currency)
		differ("day", int(got.GetRenewalDay()), v.Day)
		differ("start", got.GetPeriodStart().AsTime().Format(time.RFC3339), v.Start.UTC().Format(time.RFC3339))
		differ("end", got.GetPeriodEnd().AsTime().Format(time.RFC3339), v.End.UTC().Format(time.RFC3339))
		differ("a limit", limit != nil, v.Limited)
		if v.Limited {
			differ("limit", nanosOf(limit), v.Limit)
		}
		if !slices.Equal(got.GetEligibleStates(), v.Eligible) {
			wrong = append(wrong, fmt.Sprintf("%s shows eligible states %v, by the model %v", Options[i], got.GetEligibleStates(), v.Eligible))
		}
		if v.State == Active || Options[i] == Overspend {
			differ("spent", nanosOf(got.GetSpent()), v.Spent)
			differ("reached", got.GetReached(), v.Blocked)
		}
		differ("whether it is spent", got.GetSpent() != nil, v.State == Active || Options[i] == Overspend)
	}
	return wrong
}

func nanosOf(m *money.Money) int64 {
	n, _ := Nanos(m)
	return n
}
