package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// subscription changes options: OptionSubscriptionService.
type subscription struct {
	optionsv1.UnimplementedOptionSubscriptionServiceServer
	*subscribers
}

// ChangeDataSafeguard changes one option.
func (v *subscription) ChangeDataSafeguard(ctx context.Context, req *optionsv1.ChangeDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	asked := &controlv1.ChangeCommand{Option: eventv1.Safeguard_OPTION_DATA, RenewalDay: req.RenewalDay, State: req.GetState()}
	return change(ctx, v.subscribers, spend.Data, req, asked, func(at subject, m *optionsv1.DataSafeguard) { m.Name = at.option(spend.Data) })
}

// ChangeOverspendSafeguard changes one option.
func (v *subscription) ChangeOverspendSafeguard(ctx context.Context, req *optionsv1.ChangeOverspendSafeguardRequest) (*optionsv1.OverspendSafeguard, error) {
	asked := &controlv1.ChangeCommand{
		Option: eventv1.Safeguard_OPTION_OVERSPEND, RenewalDay: req.RenewalDay, State: req.GetState(),
		CurrentLimit: req.GetCurrentLimit(), NextLimit: req.GetNextLimit(), ClearNextLimit: req.GetClearNextLimit(),
		AlertThresholds: req.GetAlertThresholds(),
	}
	return change(ctx, v.subscribers, spend.Overspend, req, asked, func(at subject, m *optionsv1.OverspendSafeguard) { m.Name = at.option(spend.Overspend) })
}

// ChangePaymentSafeguard changes one option.
func (v *subscription) ChangePaymentSafeguard(ctx context.Context, req *optionsv1.ChangePaymentSafeguardRequest) (*optionsv1.PaymentSafeguard, error) {
	asked := &controlv1.ChangeCommand{Option: eventv1.Safeguard_OPTION_PAYMENT, RenewalDay: req.RenewalDay, State: req.GetState()}
	return change(ctx, v.subscribers, spend.Payment, req, asked, func(at subject, m *optionsv1.PaymentSafeguard) { m.Name = at.option(spend.Payment) })
}

// referring is a request that names an option and has a reference.
type referring[M any] interface {
	naming[M]
	GetTransactionReference() string
}

// change validates what does not depend on the subscriber's record, all of it at once, and leaves the rest to the rules.
func change[Req, Res any, Q referring[Req], P message[Res]](ctx context.Context, s *subscribers, o spend.Option, req Q, asked *controlv1.ChangeCommand, named func(subject, P)) (*Res, error) {
	var f fault.Violations
	at := optionIn(&f, "name", req.GetName(), o)
	referenceIn(&f, req.GetTransactionReference())
	changeIn(&f, asked)
	if f.Len() > 0 {
		return nil, wholly(ctx, s, at, &f, account.ReasonChange, func(v *account.View, f *fault.Violations) { v.CheckChange(f, asked) })
	}
	e := at.command(account.TypeChange, account.ChangeSource, req.GetTransactionReference(), asked)
	return command[Res, P](ctx, s, e, func(m P) { named(at, m) })
}

// wholly is the answer to a request that has violations by itself: these, and those that it has for its subscriber as that
// was committed last, so that a caller learns of all at once. Where the subscriber can't be read there are no others.
func wholly(ctx context.Context, s *subscribers, at subject, found *fault.Violations, reason string, more func(*account.View, *fault.Violations)) error {
	own := found.ErrShared(reason)
	if at.tenant == "" || at.msisdn == "" {
		return own
	}
	_, err := read(ctx, s, at, nil, func(v *account.View) (*struct{}, error) {
		if v.Present() != nil {
			return nil, own
		}
		var others fault.Violations
		more(v, &others)
		known := map[[2]string]bool{} // each violation of a field is named once
		of := func(v fault.Violation) [2]string {
			field, _, _ := strings.Cut(v.Field, ".")
			return [2]string{field, v.Reason}
		}
		for _, v := range fault.ViolationsOf(own) {
			known[of(v)] = true
		}
		for _, v := range fault.ViolationsOf(others.ErrShared(reason)) {
			if !known[of(v)] {
				found.AddAs(v.Reason, v.Field, "%s", v.Description)
			}
		}
		return nil, found.ErrShared(reason)
	})
	if _, away := errors.AsType[*elsewhere](err); away || fault.KindOf(err) == fault.Invalid {
		return err
	}
	return own
}

// changeIn validates what is asked of an option.
func changeIn(f *fault.Violations, c *controlv1.ChangeCommand) {
	renewalDayIn(f, c.RenewalDay)
	account.CheckState(f, c.GetState())
	if c.GetCurrentLimit() != nil {
		amountIn(f, "current_limit", c.GetCurrentLimit(), 0)
	}
	if c.GetNextLimit() != nil {
		amountIn(f, "next_limit", c.GetNextLimit(), 0)
		if c.GetClearNextLimit() {
			f.AddAs(account.ReasonChange, "clear_next_limit", "and next_limit exclude each other")
		}
	}
	thresholdsIn(f, c.GetAlertThresholds())
	if c.RenewalDay == nil && c.GetState() == 0 && c.GetCurrentLimit() == nil && c.GetNextLimit() == nil && !c.GetClearNextLimit() && c.GetAlertThresholds() == nil {
		f.AddAs(account.ReasonChange, "", "asks for no change: give a renewal day, a state or whatever else is to be another")
	}
}

// command is a command as it stands in the log.
func (p subject) command(eventType, source, reference string, data proto.Message) *event.Event {
	return &event.Event{
		ID: reference, Source: source, Type: eventType, Tenant: p.tenant, Subject: p.msisdn, Correlation: reference, Data: data,
	}
}
