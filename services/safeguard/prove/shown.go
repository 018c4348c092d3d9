package main

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/model"
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

// inventory holds what a subscriber is shown against the model.
func inventory(all *optionsv1.ListOptionsResponse, views [3]model.View) (wrong []string) {
	for i, v := range views {
		var got shown
		var limit *money.Money
		there := false
		switch model.Options[i] {
		case model.Data:
			d := all.GetDataSafeguard()
			got, limit, there = d, d.GetLimit(), d != nil
		case model.Overspend:
			d := all.GetOverspendSafeguard()
			got, limit, there = d, d.GetCurrentLimit(), d != nil
			if next := d.GetNextLimit(); there && (next != nil) != v.HasNext || v.HasNext && nanosOf(next) != v.Next {
				wrong = append(wrong, fmt.Sprintf("%s shows the next limit %v, by the model %d", model.Options[i], next, v.Next))
			}
		case model.Payment:
			d := all.GetPaymentSafeguard()
			got, limit, there = d, d.GetLimit(), d != nil
		}
		if there != v.Offered {
			wrong = append(wrong, fmt.Sprintf("%s is shown: %t, by the model: %t", model.Options[i], there, v.Offered))
		}
		if !there || !v.Offered {
			continue
		}
		differ := func(what string, got, want any) {
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s shows %s %v, by the model %v", model.Options[i], what, got, want))
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
			wrong = append(wrong, fmt.Sprintf("%s shows eligible states %v, by the model %v", model.Options[i], got.GetEligibleStates(), v.Eligible))
		}
		if v.State == model.Active {
			differ("spent", nanosOf(got.GetSpent()), v.Spent)
			differ("reached", got.GetReached(), v.Blocked)
		}
	}
	return wrong
}

func nanosOf(m *money.Money) int64 {
	n, _ := model.Nanos(m)
	return n
}
