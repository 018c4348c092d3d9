package api

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Reasons of requests that can't be answered as they are, or not now; change.go has those that the subscriber's record
// gives.
const (
	ReasonName        = reason.NameInvalid
	ReasonRebuilding  = reason.Rebuilding
	ReasonOutcome     = reason.OutcomeUnknown
	ReasonClassAbsent = reason.ClassOfServiceNotFound
)

// Bounds of requests.
const (
	maxReference   = 128
	maxDescription = 256
)

// referenceIn validates a transaction_reference. It becomes an event's id and correlation, and so a header.
func referenceIn(f *fault.Violations, reference string) {
	if n := len(reference); n == 0 || n > maxReference {
		f.AddAs(account.ReasonRequest, "transaction_reference", "must be 1 to %d bytes, has %d", maxReference, n)
	}
	if strings.ContainsFunc(reference, isControl) {
		f.AddAs(account.ReasonRequest, "transaction_reference", "must not contain control characters")
	}
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

// amountIn validates an amount that is at least lowest; nil where it is required and absent.
func amountIn(f *fault.Violations, field string, m *money.Money, lowest spend.Amount) {
	if m == nil {
		f.AddAs(account.ReasonAmount, field, "is required")
		return
	}
	if !event.IsCurrency(m.GetCurrencyCode()) {
		f.AddAs(account.ReasonCurrency, field+".currency_code", event.FormCurrency+", is %.10q", m.GetCurrencyCode())
	}
	amount, err := spend.AmountOf(m.GetUnits(), m.GetNanos())
	switch {
	case errors.Is(err, spend.ErrNotMoney):
		f.AddAs(account.ReasonAmount, field+".nanos", "must lie within ±999,999,999 and have the sign of units")
	case err != nil:
		f.AddAs(account.ReasonAmount, field+".units", "must be at most %s", spend.Max)
	case amount < lowest && lowest > 0:
		f.AddAs(account.ReasonAmount, field, "must be above 0, is %s", amount)
	case amount < lowest:
		f.AddAs(account.ReasonAmount, field, "must not be negative, is %s", amount)
	}
}

// renewalDayIn validates a renewal day that is given.
func renewalDayIn(f *fault.Violations, day *int32) {
	if day == nil {
		return
	}
	if _, err := spend.RenewalDayOf(int64(*day)); err != nil {
		f.AddAs(account.ReasonDay, "renewal_day", "must be from 1 to 28, is %d", *day)
	}
}

// thresholdsIn validates a list of alert thresholds.
func thresholdsIn(f *fault.Violations, list *eventv1.ThresholdList) {
	if n := len(list.GetThresholds()); n > account.MaxThresholds {
		f.AddAs(account.ReasonThreshold, "alert_thresholds.thresholds", "must be at most %d, are %d", account.MaxThresholds, n)
		return
	}
	for i, t := range list.GetThresholds() {
		field := fmt.Sprintf("alert_thresholds.thresholds[%d]", i)
		if t.GetSecondNotice() {
			f.AddAs(account.ReasonThreshold, field+".second_notice", "is set by the class of service")
		}
		switch {
		case (t.GetPercent() != 0) == (t.GetAmount() != nil):
			f.AddAs(account.ReasonThreshold, field, "must be either a percent or an amount")
		case t.GetAmount() != nil:
			amountIn(f, field+".amount", t.GetAmount(), 1)
		case t.GetPercent() < 1 || t.GetPercent() > 1000:
			f.AddAs(account.ReasonThreshold, field+".percent", "must be from 1 to 1000, is %d", t.GetPercent())
		}
	}
}
