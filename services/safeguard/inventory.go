package safeguard

import (
	"context"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// inventory shows where subscribers stand: OptionInventoryService.
type inventory struct {
	optionsv1.UnimplementedOptionInventoryServiceServer
	*subscribers
}

// ListOptions shows a subscriber and all of its options.
func (v *inventory) ListOptions(ctx context.Context, req *optionsv1.ListOptionsRequest) (*optionsv1.ListOptionsResponse, error) {
	var f fault.Faults
	at := placeIn(&f, "parent", req.GetParent())
	positionIn(&f, req.GetMinPosition())
	if err := f.ErrShared(reasonRequest); err != nil {
		return nil, err
	}
	return read(ctx, v.subscribers, optionsv1.OptionInventoryService_ListOptions_FullMethodName, at, req.GetMinPosition(), req, (*standing).all)
}

// GetDataSafeguard shows one option.
func (v *inventory) GetDataSafeguard(ctx context.Context, req *optionsv1.GetDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	return show(ctx, v.subscribers, optionsv1.OptionInventoryService_GetDataSafeguard_FullMethodName, spend.Data, req, (*standing).data)
}

// GetOverspendSafeguard shows one option.
func (v *inventory) GetOverspendSafeguard(ctx context.Context, req *optionsv1.GetOverspendSafeguardRequest) (*optionsv1.OverspendSafeguard, error) {
	return show(ctx, v.subscribers, optionsv1.OptionInventoryService_GetOverspendSafeguard_FullMethodName, spend.Overspend, req, (*standing).overspend)
}

// GetPaymentSafeguard shows one option.
func (v *inventory) GetPaymentSafeguard(ctx context.Context, req *optionsv1.GetPaymentSafeguardRequest) (*optionsv1.PaymentSafeguard, error) {
	return show(ctx, v.subscribers, optionsv1.OptionInventoryService_GetPaymentSafeguard_FullMethodName, spend.Payment, req, (*standing).payment)
}

// naming is a request that names what it is about.
type naming[M any] interface {
	message[M]
	GetName() string
}

// awaiting is one that waits for an event as well.
type awaiting[M any] interface {
	naming[M]
	GetMinPosition() *optionsv1.Position
}

func show[Req, Res any, Q awaiting[Req], P message[Res]](ctx context.Context, s *subscribers, method string, o spend.Option, req Q, shown func(*standing) *Res) (*Res, error) {
	var f fault.Faults
	at := optionIn(&f, "name", req.GetName(), o)
	positionIn(&f, req.GetMinPosition())
	if err := f.ErrShared(reasonRequest); err != nil {
		return nil, err
	}
	return read[Res, P](ctx, s, method, at, req.GetMinPosition(), req, func(st *standing) (*Res, error) {
		if err := st.has(o); err != nil {
			return nil, err
		}
		return shown(st), nil
	})
}

// present is nil where there is an active subscriber.
func (st *standing) present() error {
	if !st.reading.Exists || !st.sub.alive() {
		return fault.New(fault.NotFound, reasonNotFound, "tenant %s has no active subscriber %s", st.tenant, display.Subject(st.msisdn))
	}
	return nil
}

// has is nil where there is an active subscriber that has the option.
func (st *standing) has(o spend.Option) error {
	if err := st.present(); err != nil {
		return err
	}
	if !st.sub.options[o].offered() {
		return fault.New(fault.NotFound, reasonNotOffered, "class of service %s of subscriber %s does not offer the %s", st.sub.class, display.Subject(st.msisdn), optionWords[o])
	}
	return nil
}

func (st *standing) all() (*optionsv1.ListOptionsResponse, error) {
	if err := st.present(); err != nil {
		return nil, err
	}
	m := &optionsv1.ListOptionsResponse{Subscriber: &optionsv1.Subscriber{
		Name: st.name(), ClassOfService: st.sub.class, Imsi: st.sub.imsi, Language: st.sub.language,
		ActivateTime: timestamppb.New(st.sub.activated), Suspended: st.sub.suspended,
	}}
	if st.sub.options[spend.Data].offered() {
		m.DataSafeguard = st.data()
	}
	if st.sub.options[spend.Overspend].offered() {
		m.OverspendSafeguard = st.overspend()
	}
	if st.sub.options[spend.Payment].offered() {
		m.PaymentSafeguard = st.payment()
	}
	return m, nil
}

func (st *standing) data() *optionsv1.DataSafeguard {
	d := &st.sub.options[spend.Data]
	m := &optionsv1.DataSafeguard{
		Name: st.option(spend.Data), State: stateOnWire(d.state), Limit: moneyOf(d.limit, d.currency), Currency: d.currency,
		EligibleStates: st.eligible(spend.Data), RenewalDay: int32(d.renewalDay),
		PeriodStart: timestamppb.New(d.period.Start), PeriodEnd: timestamppb.New(d.period.End),
		Sequence: st.reading.Sequence, Revision: st.sub.revision, Staleness: durationpb.New(st.reading.Staleness),
		LimitSource: optionsv1.Source_SOURCE_CLASS_OF_SERVICE, RenewalDaySource: sourceOf(d.ownDay),
	}
	if d.state == spend.Active {
		m.Spent, m.Reached, m.Forecast = moneyOf(d.count.Spent, d.currency), proto.Bool(d.blocked), st.forecast(d)
	}
	return m
}

func (st *standing) overspend() *optionsv1.OverspendSafeguard {
	d := &st.sub.options[spend.Overspend]
	m := &optionsv1.OverspendSafeguard{
		Name: st.option(spend.Overspend), State: stateOnWire(d.state), Currency: d.currency,
		Spent: moneyOf(d.count.Spent, d.currency), Reached: proto.Bool(d.blocked),
		EligibleStates: st.eligible(spend.Overspend), AlertThresholds: thresholdsOnWire(d.thresholdsUnder(st.offer(spend.Overspend)), d),
		RenewalDay: int32(d.renewalDay), PeriodStart: timestamppb.New(d.period.Start), PeriodEnd: timestamppb.New(d.period.End),
		Sequence: st.reading.Sequence, Revision: st.sub.revision, Staleness: durationpb.New(st.reading.Staleness),
		AlertThresholdsSource: sourceOf(len(d.thresholds) > 0), RenewalDaySource: sourceOf(d.ownDay),
	}
	if d.limited {
		m.CurrentLimit, m.CurrentLimitSource = moneyOf(d.limit, d.currency), sourceOf(d.own)
	}
	m.NextLimit = moneyWhere(d.hasNext, d.next, d.currency)
	if d.state == spend.Active {
		m.Forecast = st.forecast(d)
	}
	return m
}

func (st *standing) payment() *optionsv1.PaymentSafeguard {
	d := &st.sub.options[spend.Payment]
	m := &optionsv1.PaymentSafeguard{
		Name: st.option(spend.Payment), State: stateOnWire(d.state), Limit: moneyOf(d.limit, d.currency), Currency: d.currency,
		PerPaymentLimit: moneyWhere(d.perPayment != spend.Max, d.perPayment, d.currency),
		EligibleStates:  st.eligible(spend.Payment), RenewalDay: int32(d.renewalDay),
		PeriodStart: timestamppb.New(d.period.Start), PeriodEnd: timestamppb.New(d.period.End),
		Sequence: st.reading.Sequence, Revision: st.sub.revision, Staleness: durationpb.New(st.reading.Staleness),
		LimitSource: optionsv1.Source_SOURCE_CLASS_OF_SERVICE, RenewalDaySource: sourceOf(d.ownDay),
	}
	if d.state == spend.Active {
		m.Spent, m.Reached, m.Forecast = moneyOf(d.count.Spent, d.currency), proto.Bool(d.blocked), st.forecast(d)
	}
	return m
}

// sourceOf says whose a value is.
func sourceOf(own bool) optionsv1.Source {
	if own {
		return optionsv1.Source_SOURCE_SUBSCRIBER
	}
	return optionsv1.Source_SOURCE_CLASS_OF_SERVICE
}

func moneyWhere(there bool, a spend.Amount, currency string) *money.Money {
	if !there {
		return nil
	}
	return moneyOf(a, currency)
}

// eligible are the states that a change may lead to now; none where the class is gone, without which nothing may be
// changed.
func (st *standing) eligible(o spend.Option) []eventv1.Safeguard_State {
	of := st.offer(o)
	if of == nil {
		return nil
	}
	var states []eventv1.Safeguard_State
	for _, next := range st.sub.options[o].eligible(o, of) {
		states = append(states, stateOnWire(next))
	}
	return states
}

// forecast goes by the log's time, as that of an alert does.
func (st *standing) forecast(d *option) *timestamppb.Timestamp {
	if !d.limited {
		return nil
	}
	at, ok := spend.Forecast(st.reading.Time, d.period.Start, d.count.Spent, d.limit)
	if !ok {
		return nil
	}
	return timestamppb.New(at)
}

// followed is a subscriber as its next event or call is going to find it: judged by what its class says by now. What is shown
// of it, and what it is authorised by, is this one judgement.
func followed(sub subscriber, tenant string, c *catalog, now time.Time) subscriber {
	t := turn{at: now, tenant: tenant, catalog: c, exists: true, sub: sub}
	t.followAll(t.class(), becauseCatalog)
	t.sub.revision = c.revision
	return t.sub
}

// renewed is a subscriber as the timers that are due by the clock are going to leave it.
func renewed(sub subscriber, tenant string, c *catalog, now time.Time) subscriber {
	for {
		first := spend.Option(spend.Options)
		var due time.Time
		for o := range spend.Option(spend.Options) {
			if d := &sub.options[o]; d.state != spend.Unset && !now.Before(d.period.End) && (first == spend.Options || d.period.End.Before(due)) {
				first, due = o, d.period.End
			}
		}
		if first == spend.Options {
			return sub
		}
		t := turn{cause: cause{timer: timerPeriod[first]}, at: due, tenant: tenant, catalog: c, exists: true, sub: sub}
		t.renew(first)
		sub = t.sub
		sub.revision = c.revision
	}
}
