package api

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// audit shows from the log why figures are what they are: OptionAuditService. Any replica can: the log and the store are
// there for all.
type audit struct {
	optionsv1.UnimplementedOptionAuditServiceServer
	*subscribers
	engine *fold.Engine[account.Subscriber, *account.Catalog]
	// folding has room for one: folding a log again takes a processor, and for Verify the memory of a partition's records.
	folding chan struct{}
}

func newAudit(s *subscribers, engine *fold.Engine[account.Subscriber, *account.Catalog]) *audit {
	return &audit{subscribers: s, engine: engine, folding: make(chan struct{}, 1)}
}

// GetPartitions is how many there are to verify or reapply.
func (v *audit) GetPartitions(context.Context, *optionsv1.GetPartitionsRequest) (*optionsv1.GetPartitionsResponse, error) {
	return &optionsv1.GetPartitionsResponse{Partitions: v.engine.Partitions()}, nil
}

// alone waits for its turn to fold a log again.
func (v *audit) alone(ctx context.Context) (done func(), err error) {
	select {
	case v.folding <- struct{}{}:
		return func() { <-v.folding }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// partitionIn validates the number of a partition.
func (v *audit) partitionIn(f *fault.Violations, n int32) {
	if n < 0 || n >= v.engine.Partitions() {
		f.AddAs(account.ReasonRequest, "partition", "must be from 0 to %d, is %d", v.engine.Partitions()-1, n)
	}
}

// Explain lists each event, command and timer that made the present figures of one subscriber, oldest first.
func (v *audit) Explain(req *optionsv1.ExplainRequest, out grpc.ServerStreamingServer[optionsv1.ExplainResponse]) error {
	var f fault.Violations
	at := subjectIn(&f, "name", req.GetName())
	x := explanation{asked: account.AnyOption, all: req.GetAllPeriods(), out: out}
	if req.GetOption() != eventv1.Safeguard_OPTION_UNSPECIFIED {
		if x.asked = account.OptionOf(req.GetOption()); x.asked == account.AnyOption {
			f.AddAs(account.ReasonRequest, "option", "%d is no option", req.GetOption())
		}
	}
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return err
	}
	done, err := v.alone(out.Context())
	if err != nil {
		return err
	}
	defer done()
	w, stored, err := v.engine.Stored(out.Context(), v.engine.Partition(at.key()), at.key())
	if err != nil {
		return unreadable(err)
	}
	if stored[0].Record != nil {
		body, err := fold.BodyOf(stored[0].Record)
		if err != nil {
			return err
		}
		if x.now, err = account.Decode(body); err != nil {
			return err
		}
	}
	if !x.all {
		if err := (&account.View{Tenant: at.tenant, MSISDN: at.msisdn, Subscriber: x.now, Exists: stored[0].Record != nil}).Present(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	r, err := replay.OfEngine(ctx, v.engine, v.engine.Partition(at.key()), replay.Config[account.Subscriber, *account.Catalog]{
		Until: w.Offset, Subject: at.key(),
		Visit: func(s fold.Step[account.Subscriber]) {
			if err := x.visit(&s); err != nil {
				cancel(err)
			}
		},
	})
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	none := stored[0].Record == nil || x.now.Life == account.LifePending // a number that is not activated yet
	if x.all && !x.stepped && none && !r.Partial() {
		return (&account.View{Tenant: at.tenant, MSISDN: at.msisdn}).Present()
	}
	before, exists, known, err := r.Stood(at.key(), stored[0].Record, stored[0].SideRecord)
	if err != nil {
		return err
	}
	now, stands := r.Body(at.key())
	return out.Send(&optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Summary{Summary: &optionsv1.ExplainedSummary{
		FromOffset: r.From, ToOffset: w.Offset, Partial: r.Partial() && !x.whole() || x.transferred,
		Equal: known && exists == stands && (!exists || before.Equal(&now)),
	}}})
}

// explanation is one on its way to who asked.
type explanation struct {
	asked spend.Option // AnyOption for all
	all   bool         // of all periods
	out   grpc.ServerStreamingServer[optionsv1.ExplainResponse]
	// now is the subscriber as stored: its periods are those that are explained.
	now account.Subscriber
	// stepped: there was a step. transferred: the subscriber came from another number. begun are the options whose present
	// period was seen to begin.
	stepped, transferred bool
	begun                [spend.Options]bool
}

// whole is whether nothing is missing of what made the present figures, wherever the replay began.
func (x *explanation) whole() bool {
	for o := range spend.Option(spend.Options) {
		if x.all || (x.asked == account.AnyOption || x.asked == o) && x.now.Options[o].State != spend.Unset && !x.begun[o] {
			return false
		}
	}
	return true
}

func (x *explanation) visit(s *fold.Step[account.Subscriber]) error {
	// A number may have had another subscriber, which began at another time.
	if !x.all && !s.After.Activated.Equal(x.now.Activated) {
		return nil
	}
	x.transferred = x.transferred || s.Event != nil && s.Event.Type == event.TypeTransfer
	outcomes := kindsOf(s.Outcomes)
	for o := range spend.Option(spend.Options) {
		if x.asked != account.AnyOption && x.asked != o {
			continue
		}
		before, after := &s.Before.Options[o], &s.After.Options[o]
		if !x.all && !after.Period.Start.Equal(x.now.Options[o].Period.Start) {
			continue
		}
		x.begun[o] = x.begun[o] || !before.Period.Start.Equal(after.Period.Start)
		if !before.Changed(after) && len(outcomes[o]) == 0 {
			continue
		}
		x.stepped = true
		if err := x.out.Send(&optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Step{Step: stepOf(s, o, outcomes[o])}}); err != nil {
			return err
		}
	}
	return nil
}

func stepOf(s *fold.Step[account.Subscriber], o spend.Option, outcomes []string) *optionsv1.ExplainedStep {
	before, after := &s.Before.Options[o], &s.After.Options[o]
	m := &optionsv1.ExplainedStep{
		Offset: s.Offset, Time: timestamppb.New(s.Time), Cause: account.CauseOf(s.Event, s.Timer, s.Due),
		Option: account.OptionOnWire(o), State: account.StateOnWire(after.State), Blocked: after.Blocked, Outcomes: outcomes,
	}
	if s.Event != nil {
		m.EventTime = timestamppb.New(s.EventTime)
	}
	d := after
	if after.State == spend.Unset {
		d = before // it ended
	}
	added := after.Count.Spent - before.Count.Spent // of two that are not negative
	if before.Currency != after.Currency && before.Currency != "" && after.Currency != "" {
		added = after.Count.Spent // there is no difference between currencies
	}
	m.Change, m.Spent = figure(added, d.Currency), figure(after.Count.Spent, d.Currency)
	m.Limit = account.MoneyWhere(after.Limited, after.Limit, d.Currency)
	return m
}

func figure(a spend.Amount, currency string) *money.Money {
	return account.MoneyWhere(currency != "", a, currency)
}

// kindsOf are the kinds of the outcomes of a step, by option. What was rejected made no figure.
func kindsOf(outcomes []stream.Record) (kinds [spend.Options][]string) {
	for _, r := range outcomes {
		name, _ := r.Header(event.HeaderType)
		kind, ours := strings.CutPrefix(string(name), account.TypePrefix)
		if _, rejected := r.Header(event.HeaderReason); rejected || !ours {
			continue
		}
		e, err := event.Decode(r.Value)
		if err != nil {
			continue // was encoded a moment ago
		}
		if d, ok := e.Data.(*eventv1.Safeguard); ok {
			if o := account.OptionOf(d.GetOption()); o != account.AnyOption {
				kinds[o] = append(kinds[o], kind)
			}
		}
	}
	return kinds
}
