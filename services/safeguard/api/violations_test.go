package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func faultsOf(err error) (all []string) {
	for _, v := range fault.ViolationsOf(err) {
		all = append(all, v.Field+" "+v.Reason)
	}
	return all
}

// A call once named what is wrong with it by itself, and what is wrong with it for its subscriber only when it came again.
func TestCommand_NamesEveryViolation(t *testing.T) {
	c := safeguardtest.Full()
	s := reachable(t, &fakeEngine{reading: begun(t, c, func(s *account.Subscriber) { s.Options[spend.Overspend].DayChanged = true })}, "2026-03-12T10:00", c)
	day, far := int32(12), int32(40)
	pounds := &money.Money{CurrencyCode: "GBP", Units: 1, Nanos: -5}
	over := wholeName + "/options/overspendSafeguard"
	for name, test := range map[string]struct {
		req  *optionsv1.ChangeOverspendSafeguardRequest
		want []string
	}{
		"four, of which the record gives two": {
			&optionsv1.ChangeOverspendSafeguardRequest{Name: over, RenewalDay: &day, CurrentLimit: pounds},
			[]string{"transaction_reference REQUEST_INVALID", "current_limit.nanos AMOUNT_INVALID", "current_limit CURRENCY_MISMATCH", "renewal_day RENEWAL_DAY_CHANGED"},
		},
		"each once": {
			&optionsv1.ChangeOverspendSafeguardRequest{Name: over, RenewalDay: &far, State: 99, NextLimit: safeguardtest.Units("-1"), TransactionReference: "r"},
			[]string{"renewal_day RENEWAL_DAY_OUT_OF_RANGE", "state REQUEST_INVALID", "next_limit AMOUNT_INVALID"},
		},
		"of a name that is none, by itself": {
			&optionsv1.ChangeOverspendSafeguardRequest{Name: "over", RenewalDay: &far, TransactionReference: "r"},
			[]string{"name NAME_INVALID", "renewal_day RENEWAL_DAY_OUT_OF_RANGE"},
		},
	} {
		_, err := (&subscription{subscribers: s}).ChangeOverspendSafeguard(t.Context(), test.req)
		if diff := cmp.Diff(test.want, faultsOf(err)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	_, err := (&enforcement{subscribers: s}).Charge(t.Context(), &optionsv1.ChargeRequest{Name: wholeName, Amount: pounds, Description: string(make([]byte, 300))})
	want := []string{"transaction_reference REQUEST_INVALID", "amount.nanos AMOUNT_INVALID", "description REQUEST_INVALID", "amount CURRENCY_MISMATCH"}
	if diff := cmp.Diff(want, faultsOf(err)); diff != "" {
		t.Error(diff)
	}
	// What the record alone gives comes from the log, all of it too.
	unknown := reachable(t, &fakeEngine{}, "2026-03-12T10:00", c)
	if _, err := (&subscription{subscribers: unknown}).ChangeOverspendSafeguard(t.Context(), &optionsv1.ChangeOverspendSafeguardRequest{Name: over, RenewalDay: &far}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("of an unknown number: %v", err)
	}
}
