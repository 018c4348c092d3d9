package safeguard

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// inventory shows where subscribers stand: OptionInventoryService.
type inventory struct {
	optionsv1.UnimplementedOptionInventoryServiceServer
	records  records
	catalogs *catalogs
	peers    *peers
	clock    func() time.Time
}

// records reads a subscriber as committed last.
type records interface {
	Read(ctx context.Context, key string) (state.Reading[subscriber], error)
}

// GetDataSafeguard answers from this replica's partitions, or through one hop to the replica that has the subscriber's.
func (v *inventory) GetDataSafeguard(ctx context.Context, req *optionsv1.GetDataSafeguardRequest) (*optionsv1.DataSafeguard, error) {
	tenant, msisdn, err := parseName(req.GetName())
	if err != nil {
		return nil, err
	}
	r, err := v.records.Read(ctx, tenant+"/"+msisdn)
	if away, ok := errors.AsType[*state.NotOwnerError](err); ok {
		return v.peers.getDataSafeguard(ctx, away.Address, req)
	}
	if errors.Is(err, state.ErrUnknown) {
		return nil, rebuilding("the subscriber's partition is being opened or rebuilt")
	}
	if err != nil {
		return nil, rebuilding("the subscriber's record can't be read now", err)
	}
	if !r.Exists || !r.Body.alive() {
		return nil, fault.New(fault.NotFound, "SUBSCRIBER_NOT_FOUND", "tenant %s has no active subscriber %s", tenant, msisdn)
	}
	if !r.Body.options[spend.Data].offered() {
		return nil, fault.New(fault.NotFound, "OPTION_NOT_OFFERED", "class of service %s of subscriber %s does not offer the data safeguard", r.Body.class, msisdn)
	}
	now := v.clock()
	if r.Time.After(now) {
		now = r.Time
	}
	sub := r.Body
	if !now.Before(sub.options[spend.Data].period.End) {
		c, err := v.catalogs.At(ctx, r.Revision)
		if err != nil {
			return nil, rebuilding("a renewal is due, and the configuration can't be read now", err)
		}
		if sub = renewed(sub, tenant, c, now); !sub.options[spend.Data].offered() {
			return nil, fault.New(fault.NotFound, "OPTION_NOT_OFFERED", "class of service %s of subscriber %s no longer offers the data safeguard", sub.class, msisdn)
		}
	}
	m := shown(&sub, now)
	m.Name, m.Sequence, m.Staleness = req.GetName(), r.Sequence, durationpb.New(r.Staleness)
	return m, nil
}

// renewed is a subscriber as the timers that are due by the clock are going to leave it.
func renewed(sub subscriber, tenant string, c *catalog, now time.Time) subscriber {
	for {
		t := turn{tenant: tenant, catalog: c, exists: true, sub: sub}
		first := spend.Option(spend.Options)
		for o := range spend.Option(spend.Options) {
			if d := &sub.options[o]; d.state != spend.Unset && !now.Before(d.period.End) && (t.at.IsZero() || d.period.End.Before(t.at)) {
				first, t.at = o, d.period.End
			}
		}
		if first == spend.Options {
			return sub
		}
		t.renew(first)
		sub = t.sub
		sub.revision = c.revision
	}
}

// shown is the option as the API shows it.
func shown(s *subscriber, now time.Time) *optionsv1.DataSafeguard {
	d := &s.options[spend.Data]
	m := &optionsv1.DataSafeguard{
		State: stateOnWire(d.state), Limit: moneyOf(d.limit, d.currency), Currency: d.currency,
		RenewalDay: int32(d.renewalDay), PeriodStart: timestamppb.New(d.period.Start), PeriodEnd: timestamppb.New(d.period.End),
		Revision: s.revision,
	}
	for _, next := range d.state.Eligible(spend.Data) {
		m.EligibleStates = append(m.EligibleStates, stateOnWire(next))
	}
	if d.state == spend.Active {
		m.Spent, m.Reached = moneyOf(d.count.Spent, d.currency), d.blocked
		if at, ok := spend.Forecast(now, d.period.Start, d.count.Spent, d.limit); ok {
			m.Forecast = timestamppb.New(at)
		}
	}
	return m
}

// parseName reads "tenants/{tenant}/subscribers/{msisdn}/options/dataSafeguard".
func parseName(name string) (tenant, msisdn string, err error) {
	const form = "must be tenants/{tenant}/subscribers/{msisdn}/options/dataSafeguard"
	parts := strings.Split(name, "/")
	var f fault.Faults
	switch {
	case len(parts) != 6 || parts[0] != "tenants" || parts[2] != "subscribers" || parts[4] != "options" || parts[5] != "dataSafeguard":
		f.Add("name", form)
	default:
		if tenant = parts[1]; tenant == "" {
			f.Add("name", "the tenant is empty; "+form)
		}
		if msisdn = parts[3]; msisdn == "" || strings.HasPrefix(msisdn, "+") {
			f.Add("name", "the MSISDN must be E.164 digits without +; "+form)
		}
	}
	return tenant, msisdn, f.Err("NAME_INVALID")
}

// retryAfter is how long a caller is asked to wait for what is being rebuilt.
const retryAfter = time.Second

// rebuilding is the answer to what exists or not, and cannot be told now. Causes are for the log: the caller reads why.
func rebuilding(why string, causes ...error) error {
	answer := fault.New(fault.Unavailable, "REBUILDING", "%s: ask again", why).After(retryAfter)
	return errors.Join(append([]error{answer}, causes...)...)
}
