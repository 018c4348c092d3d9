package safeguard

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// audit shows from the log why figures are what they are: OptionAuditService. Any replica can: the log and the store are
// there for all.
type audit struct {
	optionsv1.UnimplementedOptionAuditServiceServer
	*subscribers
	engine *fold.Engine[subscriber, *catalog]
	// folding has room for one: folding a log again takes a processor, and for Verify the memory of a partition's records.
	folding chan struct{}
}

func newAudit(s *subscribers, engine *fold.Engine[subscriber, *catalog]) *audit {
	return &audit{subscribers: s, engine: engine, folding: make(chan struct{}, 1)}
}

// GetPartitions says how many there are to verify or reapply.
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

// partitionIn judges the number of a partition.
func (v *audit) partitionIn(f *fault.Faults, n int32) {
	if n < 0 || n >= v.engine.Partitions() {
		f.AddAs(reasonRequest, "partition", "must be from 0 to %d, is %d", v.engine.Partitions()-1, n)
	}
}

// Explain tells each event, call and timer that made the present figures of one subscriber, oldest first.
func (v *audit) Explain(req *optionsv1.ExplainRequest, out grpc.ServerStreamingServer[optionsv1.ExplainResponse]) error {
	var f fault.Faults
	at := placeIn(&f, "name", req.GetName())
	x := explanation{asked: anyOption, all: req.GetAllPeriods(), out: out}
	if req.GetOption() != eventv1.Safeguard_OPTION_UNSPECIFIED {
		if x.asked = optionOf(req.GetOption()); x.asked == anyOption {
			f.AddAs(reasonRequest, "option", "%d is no option", req.GetOption())
		}
	}
	if err := f.ErrShared(reasonRequest); err != nil {
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
		if x.now, err = decodeSubscriber(body); err != nil {
			return err
		}
	}
	if !x.all {
		if err := (&standing{place: at, sub: x.now, reading: fold.Reading[subscriber]{Exists: stored[0].Record != nil}}).present(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	r, err := v.engine.Replay(ctx, v.engine.Partition(at.key()), fold.ReplayConfig[subscriber, *catalog]{
		Until: w.Offset, Subject: at.key(),
		Visit: func(s fold.Step[subscriber]) {
			if err := x.visit(&s); err != nil {
				cancel(err)
			}
		},
	})
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	if x.all && !x.told && stored[0].Record == nil && !r.Partial() {
		return (&standing{place: at}).present()
	}
	before, exists, known, err := r.Stood(at.key(), stored[0].Record, stored[0].Aside)
	if err != nil {
		return err
	}
	now, stands := r.Body(at.key())
	return out.Send(&optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Summary{Summary: &optionsv1.ExplainedSummary{
		FromOffset: r.From, ToOffset: w.Offset, Partial: r.Partial() && !x.whole() || x.arrived,
		Equal: known && exists == stands && (!exists || same(&before, &now)),
	}}})
}

// same says that two subscribers are, as they are stored.
func same(a, b *subscriber) bool { return bytes.Equal(a.append(nil), b.append(nil)) }

// explanation is one on its way to who asked.
type explanation struct {
	asked spend.Option // anyOption for all
	all   bool         // of all periods
	out   grpc.ServerStreamingServer[optionsv1.ExplainResponse]
	// now is the subscriber as stored: its periods are those that are explained.
	now subscriber
	// told: there was a step. arrived: the subscriber came from another number. begun are the options whose present period was seen to begin.
	told, arrived bool
	begun         [spend.Options]bool
}

// whole says that nothing is missing of what made the present figures, wherever the replay began.
func (x *explanation) whole() bool {
	for o := range spend.Option(spend.Options) {
		if x.all || (x.asked == anyOption || x.asked == o) && x.now.options[o].state != spend.Unset && !x.begun[o] {
			return false
		}
	}
	return true
}

func (x *explanation) visit(s *fold.Step[subscriber]) error {
	// A number may have had another subscriber, who is told apart by when it began.
	if !x.all && !s.After.activated.Equal(x.now.activated) {
		return nil
	}
	x.arrived = x.arrived || s.Event != nil && s.Event.Type == event.TypeTransfer
	said := saidOf(s.Outcomes)
	for o := range spend.Option(spend.Options) {
		if x.asked != anyOption && x.asked != o {
			continue
		}
		before, after := &s.Before.options[o], &s.After.options[o]
		if !x.all && !after.period.Start.Equal(x.now.options[o].period.Start) {
			continue
		}
		x.begun[o] = x.begun[o] || !before.period.Start.Equal(after.period.Start)
		if !changedTo(before, after) && len(said[o]) == 0 {
			continue
		}
		x.told = true
		if err := x.out.Send(&optionsv1.ExplainResponse{Part: &optionsv1.ExplainResponse_Step{Step: stepOf(s, o, said[o])}}); err != nil {
			return err
		}
	}
	return nil
}

// changedTo says that a step left an option in another way than it found it.
func changedTo(before, after *option) bool {
	return before.state != after.state || before.withdrawn != after.withdrawn || before.blocked != after.blocked ||
		before.count != after.count || before.renewalDay != after.renewalDay || before.differs(after) ||
		!before.period.Start.Equal(after.period.Start) || !before.period.End.Equal(after.period.End)
}

func stepOf(s *fold.Step[subscriber], o spend.Option, said []string) *optionsv1.ExplainedStep {
	before, after := &s.Before.options[o], &s.After.options[o]
	m := &optionsv1.ExplainedStep{
		Offset: s.Offset, Time: timestamppb.New(s.Time), Cause: (&cause{event: s.Event, timer: s.Timer}).onWire(s.Due),
		Option: optionOnWire(o), State: stateOnWire(after.state), Blocked: after.blocked, Outcomes: said,
	}
	if s.Event != nil {
		m.EventTime = timestamppb.New(s.EventTime)
	}
	d := after
	if after.state == spend.Unset {
		d = before // it ended
	}
	added := after.count.Spent - before.count.Spent // of two that are not negative
	if before.currency != after.currency && before.currency != "" && after.currency != "" {
		added = after.count.Spent // there is no difference between currencies
	}
	m.Change, m.Spent = figure(added, d.currency), figure(after.count.Spent, d.currency)
	m.Limit = moneyWhere(after.limited, after.limit, d.currency)
	return m
}

func figure(a spend.Amount, currency string) *money.Money {
	return moneyWhere(currency != "", a, currency)
}

// saidOf are the kinds of the events of a step, by option. What was rejected made no figure.
func saidOf(outcomes []stream.Record) (said [spend.Options][]string) {
	for _, r := range outcomes {
		name, _ := r.Header(event.HeaderType)
		kind, ours := strings.CutPrefix(string(name), typePrefix)
		if _, rejected := r.Header(event.HeaderReason); rejected || !ours {
			continue
		}
		e, err := event.Decode(r.Value)
		if err != nil {
			continue // was encoded a moment ago
		}
		if d, ok := e.Data.(*eventv1.Safeguard); ok {
			if o := optionOf(d.GetOption()); o != anyOption {
				said[o] = append(said[o], kind)
			}
		}
	}
	return said
}
