package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// enforcement answers network elements and payment systems: EnforcementService.
type enforcement struct {
	optionsv1.UnimplementedEnforcementServiceServer
	*subscribers

	// authorize and charge answer the requests of streams, as those that come alone.
	authorize func(context.Context, *optionsv1.AuthorizeRequest) (*optionsv1.AuthorizeResponse, error)
	charge    func(context.Context, *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error)
}

func newEnforcement(s *subscribers, f *forwarding) *enforcement {
	v := &enforcement{subscribers: s}
	v.authorize = request(f, optionsv1.EnforcementService_Authorize_FullMethodName, v.Authorize)
	v.charge = request(f, optionsv1.EnforcementService_Charge_FullMethodName, v.Charge)
	return v
}

// Authorize answers whether a subscriber may use something now.
func (v *enforcement) Authorize(ctx context.Context, req *optionsv1.AuthorizeRequest) (*optionsv1.AuthorizeResponse, error) {
	at, asked, err := authorizeIn(req)
	if err != nil {
		return nil, err
	}
	r, err := v.reach(ctx, at, hop)
	if _, away := errors.AsType[*elsewhere](err); away {
		return nil, err
	}
	var now account.View
	if err == nil {
		now, err = v.view(ctx, at, &r)
	}
	return v.decide(req, at, asked, now, &r, err)
}

// authorizeAtOnce answers where that waits for nothing: the request is wrong, or the subscriber is in memory.
func (v *enforcement) authorizeAtOnce(req *optionsv1.AuthorizeRequest) (res *optionsv1.AuthorizeResponse, err error, done bool) {
	at, asked, err := authorizeIn(req)
	if err != nil {
		return nil, err, true
	}
	now, r, ok := v.cached(at)
	if !ok {
		return nil, nil, false
	}
	res, err = v.decide(req, at, asked, now, &r, nil)
	return res, err, true
}

// decide answers from what is known of a subscriber; err is why that is not all.
func (v *enforcement) decide(req *optionsv1.AuthorizeRequest, at subject, asked spend.Option, now account.View, r *fold.Reading[account.Subscriber], err error) (*optionsv1.AuthorizeResponse, error) {
	var a account.Authorization
	switch {
	case err != nil:
		class := ""
		if r.Exists && r.Body.Alive() {
			class = r.Body.Class
		}
		a = v.catalogs.latest().AuthorizeUnknown(at.tenant, class, req.GetUsage(), asked)
		now.Now = v.clock()
	case now.Uncountable():
		a = v.catalogs.latest().AuthorizeUnknown(at.tenant, "", nil, asked)
		now.Now = v.clock()
	default:
		if a, err = now.Authorize(req.GetUsage(), asked); err != nil {
			return nil, err
		}
	}
	res := &optionsv1.AuthorizeResponse{Sequence: r.Sequence, Staleness: durationpb.New(r.Staleness)}
	authorizedIn(res, &a, now.Now)
	v.answered.authorized(res)
	return res, nil
}

// authorizedIn writes a decision into an answer. What is not known now is asked again soon.
func authorizedIn(res *optionsv1.AuthorizeResponse, a *account.Authorization, now time.Time) {
	res.Decision, res.Reason = optionsv1.AuthorizeResponse_DECISION_ALLOW, a.Reason
	if a.Denied {
		res.Decision = optionsv1.AuthorizeResponse_DECISION_DENY
	}
	for o, blocks := range a.BlockedBy {
		if blocks {
			res.BlockedBy = append(res.BlockedBy, account.OptionOnWire(spend.Option(o)))
		}
	}
	until := a.Until
	if a.Unknown {
		until = now.Add(retryAfter)
	}
	if !until.IsZero() {
		res.Until = timestamppb.New(until)
	}
}

// authorizeIn reads a request: whom it is about, and the option that is asked about.
func authorizeIn(req *optionsv1.AuthorizeRequest) (at subject, asked spend.Option, err error) {
	tenant, text, named := parts(req.GetName(), "/subscribers/", "")
	msisdn, numbered := event.MSISDN(text)
	known := false
	switch use := req.GetUse().(type) {
	case *optionsv1.AuthorizeRequest_Usage:
		asked, known = account.AnyOption, use.Usage != nil
	case *optionsv1.AuthorizeRequest_Option:
		asked = account.OptionOf(use.Option)
		known = asked < spend.Options
	}
	if named && known && isTenant(tenant) && numbered {
		return subject{tenant, msisdn}, asked, nil
	}
	var f fault.Violations
	subjectIn(&f, "name", req.GetName())
	if !known {
		f.AddAs(account.ReasonRequest, "use", "must be usage, or one of the three options")
	}
	return at, asked, f.ErrShared(account.ReasonRequest)
}
