package safeguard

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// enforcement answers network elements and payment systems: EnforcementService.
type enforcement struct {
	optionsv1.UnimplementedEnforcementServiceServer
	*subscribers
}

// Reasons of authorisations.
const (
	becauseLimit    = "LIMIT_REACHED"
	becauseInactive = "INACTIVE"
	becauseUnknown  = "UNKNOWN"
)

// anyOption stands for whichever option the usage falls into.
const anyOption = spend.Option(spend.Options)

// Authorize says whether a subscriber may use something now.
func (v *enforcement) Authorize(ctx context.Context, req *optionsv1.AuthorizeRequest) (*optionsv1.AuthorizeResponse, error) {
	at, asked, err := authorizeIn(req)
	if err != nil {
		return nil, err
	}
	res := &optionsv1.AuthorizeResponse{}
	r, answered, err := v.reach(ctx, optionsv1.EnforcementService_Authorize_FullMethodName, at, hop, req, res)
	switch {
	case answered && err != nil:
		return nil, err
	case answered:
		return res, nil
	}
	var st standing
	if err == nil {
		st, err = v.stand(ctx, at, r)
	}
	switch {
	case err != nil:
		v.authorizeUnknown(at, &r, req.GetUsage(), asked, res)
	case st.uncountable():
		v.authorizeUnknown(at, &fold.Reading[subscriber]{Sequence: r.Sequence, Staleness: r.Staleness}, nil, asked, res)
	default:
		if err := st.authorize(req.GetUsage(), asked, res); err != nil {
			return nil, err
		}
	}
	v.answered.authorized(res)
	return res, nil
}

// uncountable says that nothing of the number can be counted now, and may be any moment: usage waits for its activation, or
// the subscriber's class of service is missing.
func (st *standing) uncountable() bool {
	return st.reading.Exists && (st.sub.pending() || st.sub.alive() && st.class == nil)
}

// authorizeIn reads a request: whom it is about, and the option that is asked about.
func authorizeIn(req *optionsv1.AuthorizeRequest) (at place, asked spend.Option, err error) {
	tenant, text, named := parts(req.GetName(), "/subscribers/", "")
	msisdn, numbered := event.MSISDN(text)
	known := false
	switch use := req.GetUse().(type) {
	case *optionsv1.AuthorizeRequest_Usage:
		asked, known = anyOption, use.Usage != nil
	case *optionsv1.AuthorizeRequest_Option:
		asked = optionOf(use.Option)
		known = asked < spend.Options
	}
	if named && known && isTenant(tenant) && numbered {
		return place{tenant, msisdn}, asked, nil
	}
	var f fault.Faults
	placeIn(&f, "name", req.GetName())
	if !known {
		f.AddAs(reasonRequest, "use", "must be usage, or one of the three options")
	}
	return at, asked, f.ErrShared(reasonRequest)
}

// authorize judges by the bits that the inventory shows and safeguard.reached tells.
func (st *standing) authorize(usage *eventv1.UsageCharged, asked spend.Option, res *optionsv1.AuthorizeResponse) error {
	err := st.present()
	if err == nil && asked != anyOption {
		err = st.has(asked)
	}
	if err != nil {
		return err
	}
	res.Sequence, res.Staleness = st.reading.Sequence, durationpb.New(st.reading.Staleness)
	j := judgement{res: res, now: st.now}
	for o := range spend.Option(spend.Options) {
		d := &st.sub.options[o]
		if !d.offered() || asked != anyOption && asked != o || !d.blocked && !st.mayBlock(o) {
			continue // nothing that this usage's scope could decide
		}
		if asked == anyOption {
			of := st.offer(o)
			switch in, err := of.holds(usage); {
			case err != nil && d.blocked:
				j.unknown(o, of.UnknownAllows)
				continue
			case err != nil || !in:
				continue
			}
		}
		j.known(o, d, st.blocksNext(o))
	}
	j.conclude()
	return nil
}

// judgement is an answer in the making.
type judgement struct {
	res *optionsv1.AuthorizeResponse
	now time.Time
	// begins is when the first option will block that does not now, released when the last one will not any more.
	begins, released time.Time
	// forever: an option blocks in the next period as well. doubtful: something is not known.
	forever, doubtful bool
}

// known judges an option that this falls into; next says whether it is going to block in its next period.
func (j *judgement) known(o spend.Option, d *option, next bool) {
	switch {
	case d.blocked && d.state == spend.Active:
		j.deny(o, becauseLimit)
	case d.blocked:
		j.deny(o, becauseInactive)
	case next && (j.begins.IsZero() || d.period.End.Before(j.begins)):
		j.begins = d.period.End
	}
	if d.blocked {
		j.forever = j.forever || next
		if d.period.End.After(j.released) {
			j.released = d.period.End
		}
	}
}

// unknown judges an option of which it can't be told whether it blocks this.
func (j *judgement) unknown(o spend.Option, allows bool) {
	j.doubtful = true
	if !allows {
		j.deny(o, becauseUnknown)
	} else if j.res.GetReason() == "" {
		j.res.Reason = becauseUnknown
	}
}

func (j *judgement) deny(o spend.Option, reason string) {
	j.res.Verdict = optionsv1.AuthorizeResponse_VERDICT_DENY
	if o != anyOption {
		j.res.BlockedBy = append(j.res.BlockedBy, optionOnWire(o))
	}
	if was := j.res.GetReason(); was == "" || was == becauseUnknown || reason == becauseLimit {
		j.res.Reason = reason
	}
}

func (j *judgement) conclude() {
	allowed := j.res.GetVerdict() != optionsv1.AuthorizeResponse_VERDICT_DENY
	until := j.released
	switch {
	case j.doubtful:
		until = j.now.Add(retryAfter)
	case allowed:
		until = j.begins
	case j.forever:
		until = time.Time{}
	}
	if allowed {
		j.res.Verdict = optionsv1.AuthorizeResponse_VERDICT_ALLOW
	}
	if !until.IsZero() {
		j.res.Until = timestamppb.New(until)
	}
}

// mayBlock says, cheaply, whether an option that does not block might in its next period: nothing is spent then, so its
// limit or its state has to become another.
func (st *standing) mayBlock(o spend.Option) bool {
	d := &st.sub.options[o]
	if d.hasNext || d.state == spend.TemporarilyInactive {
		return true
	}
	of := st.offer(o)
	return of != nil && !d.agrees(of)
}

// blocksNext says whether the option is going to block when its next period begins.
func (st *standing) blocksNext(o spend.Option) bool {
	d := &st.sub.options[o]
	t := turn{cause: cause{timer: timerPeriod[o]}, at: d.period.End, tenant: st.tenant, msisdn: st.msisdn, catalog: st.catalog, exists: true, sub: st.sub}
	t.renew(o)
	return t.sub.options[o].blocked
}

// offer is what the class says of an option by now; nil where it does not offer it, or is gone.
func (st *standing) offer(o spend.Option) *offer {
	if st.class == nil {
		return nil
	}
	return st.class.offers[o]
}

// holds is the scope's answer.
func (of *offer) holds(usage *eventv1.UsageCharged) (bool, error) {
	if of.scope.err != nil {
		return false, of.scope.err
	}
	return of.scope.Holds(usage)
}

// authorizeUnknown answers while the counters can't be read: by the word of each option that this would fall into, where
// the record told at least the subscriber's class, otherwise by the tenant's.
func (v *enforcement) authorizeUnknown(at place, r *fold.Reading[subscriber], usage *eventv1.UsageCharged, asked spend.Option, res *optionsv1.AuthorizeResponse) {
	c := v.catalogs.latest()
	res.Sequence, res.Staleness = r.Sequence, durationpb.New(r.Staleness)
	j := judgement{res: res, now: v.clock(), doubtful: true}
	var known *class
	if r.Exists && r.Body.alive() {
		known = c.class(at.tenant, r.Body.class)
	}
	if known == nil {
		j.unknown(asked, c.tenant(at.tenant).UnknownAllows)
	} else {
		for o, of := range known.offers {
			if of == nil || asked != anyOption && asked != spend.Option(o) {
				continue
			}
			in, err := true, error(nil)
			if asked == anyOption {
				in, err = of.holds(usage)
			}
			if in || err != nil {
				j.unknown(spend.Option(o), of.UnknownAllows)
			}
		}
	}
	j.conclude()
}
