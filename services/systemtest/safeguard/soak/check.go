package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// tally counts errors.
type tally struct {
	// lost are events and outcomes that were not published, and counters, blocks and answers that are wrong.
	lost int
	// doubled are outcomes that were published and not expected: one crossing under two ids, one id with two contents, one
	// that the model does not have; and counters that are too high.
	doubled int
	// outOfOrder are outcomes that appear first after a later one of their subject, or whose previous sequence is not that
	// of the one before.
	outOfOrder int

	first, repeats, compared int
	// rejections are how many events were rejected, by reason.
	rejections map[string]int
	examples   []string
}

func (v *tally) add(count *int, format string, args ...any) {
	*count++
	const enough = 20
	if len(v.examples) < enough {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

func (v *tally) wrong() bool { return v.lost+v.doubled+v.outOfOrder > 0 }

// checker folds the log with the model and compares everything that can be seen from outside with it.
type checker struct {
	tally
	bed       *bed
	config    configv1.ConfigWatchServiceClient
	snapshots map[position]*configv1.Snapshot
	histories map[int64]uint64 // of revisions in the log

	log       []*logPartition
	outcomes  []*fleet.Tail
	rejected  []*fleet.Tail
	table     model.Table
	seen      map[string]struct{} // events in the log, by nameOf
	known     map[string]uint64   // contents of outcomes and rejections, by id
	sequences map[string]int64    // last one, by subject
	numbers   map[string]*model.Partition

	expected, published []model.Outcome
}

// logPartition is a partition of the log, as far as it was read, and the model of it.
type logPartition struct {
	tail     *fleet.Tail
	pending  []stream.Record
	model    *model.Partition
	revision int64
}

func newChecker(b *bed, config configv1.ConfigWatchServiceClient) *checker {
	ck := &checker{
		tally: tally{rejections: map[string]int{}}, bed: b, config: config, snapshots: map[position]*configv1.Snapshot{}, histories: map[int64]uint64{}, table: model.Table{}, seen: map[string]struct{}{}, known: map[string]uint64{},
		sequences: map[string]int64{}, numbers: map[string]*model.Partition{},
	}
	first := model.New()
	for p := range int32(partitions) {
		ck.log = append(ck.log, &logPartition{tail: b.fleet.Follow(eventsOrdered, p), model: first.Beside()})
		ck.outcomes = append(ck.outcomes, b.fleet.Follow(stream.Safeguards, p))
		ck.rejected = append(ck.rejected, b.fleet.Follow(stream.EventsRejected, p))
	}
	return ck
}

// rests compares at a quiet point. What is due within a minute may be worked at its end, and a batch is committed a moment
// after it is published: so what is not right yet is looked at again for a while.
func (ck *checker) rests(ctx context.Context, calls []answer) error {
	const patience = 2 * time.Minute
	until := time.Now().Add(patience)
	for {
		if err := ck.read(ctx); err != nil {
			return err
		}
		if ck.open() == 0 && len(model.Compare(ck.expected, ck.published)) == 0 || time.Now().After(until) {
			break
		}
		pause.For(ctx, time.Second)
	}
	if n := ck.open(); n > 0 {
		ck.add(&ck.lost, "%d events stayed between two numbers", n)
	}
	ck.compare()
	ck.answers(calls)
	for number, w := range ck.numbers {
		if err := ck.number(ctx, number, w, until); err != nil {
			return err
		}
	}
	return nil
}

// open are events that one number hands to another and that are not there yet.
func (ck *checker) open() int {
	n := ck.log[0].model.Owed()
	for _, l := range ck.log {
		n += len(l.pending)
	}
	return n
}

// alive reports whether a number has a subscriber.
func (ck *checker) alive(number string) bool {
	w := ck.numbers[number]
	if w == nil {
		return false
	}
	_, _, alive := w.Look("acme", number)
	return alive
}

// compare counts the errors in what was published since the last time.
func (ck *checker) compare() {
	for _, w := range model.Compare(ck.expected, ck.published) {
		if w.Lost {
			ck.add(&ck.lost, "%s", w.Text)
		}
		if w.Doubled {
			ck.add(&ck.doubled, "%s", w.Text)
		}
	}
	ck.compared += len(ck.expected)
	ck.expected, ck.published = nil, nil
}

// read takes what was added to the topics, and folds it.
func (ck *checker) read(ctx context.Context) error {
	for _, l := range ck.log {
		records, err := all(ctx, l.tail)
		if err != nil {
			return err
		}
		l.pending = append(l.pending, records...)
	}
	for moved := true; moved; {
		moved = false
		for _, l := range ck.log {
			n, err := ck.fold(ctx, l)
			if err != nil {
				return err
			}
			moved = moved || n > 0
		}
	}
	for p, l := range ck.log {
		if len(l.pending) == 0 {
			l.model.Pass(l.model.Now())
		}
		for _, s := range l.model.Take() {
			if s.Kind == "rejected" {
				s.Partition = int32(p)
			}
			ck.expected = append(ck.expected, s)
		}
	}
	// What was published before the log was read is complete, and may be more than that: it is looked at again.
	for _, tail := range slices.Concat(ck.outcomes, ck.rejected) {
		records, err := all(ctx, tail)
		if err != nil {
			return err
		}
		if err := ck.collect(records); err != nil {
			return err
		}
	}
	return nil
}

func all(ctx context.Context, t *fleet.Tail) (records []stream.Record, err error) {
	for {
		more, err := t.Read(ctx)
		if err != nil || len(more) == 0 {
			return records, err
		}
		records = append(records, more...)
	}
}

// fold applies the records of a partition, up to a subscriber that has not left its number yet.
func (ck *checker) fold(ctx context.Context, l *logPartition) (n int, err error) {
	for ; n < len(l.pending); n++ {
		r := l.pending[n]
		e, err := event.Decode(r.Value)
		if err != nil {
			return n, fmt.Errorf("read the log: %w", err)
		}
		if l.model.Waits(e) {
			break
		}
		if d, ok := e.Data.(*controlv1.Revision); ok {
			at := position{d.GetHistory(), d.GetRevision()}
			if before, named := ck.histories[at.revision]; named && before != at.history {
				ck.add(&ck.doubled, "revision %d is in the log of two histories, %x and %x", at.revision, before, at.history)
			}
			ck.histories[at.revision] = at.history
			if at.revision > l.revision {
				s, err := ck.snapshot(ctx, at)
				if err != nil {
					return n, err
				}
				l.model.Configure(r.Time, s)
				l.revision = at.revision
			} else {
				// One that another replica added as well changes no class, but moves the time.
				l.model.Pass(r.Time)
			}
			continue
		}
		l.model.Happen(r.Time, e)
		ck.seen[nameOf(e.Subject, e.ID)] = struct{}{}
		if !strings.HasPrefix(e.Type, "system.") {
			ck.numbers[e.Subject] = l.model
		}
		if e.Type == "system.transfer" {
			ck.numbers[e.Subject] = l.model
		}
	}
	l.pending = l.pending[n:]
	return n, nil
}

// collect takes records of a partition, in their order. Repeats have the same bytes.
func (ck *checker) collect(records []stream.Record) error {
	for _, r := range records {
		kind, _ := r.Header(event.HeaderType)
		id, _ := r.Header(event.HeaderID)
		name := string(id)
		if rejection, is := r.Header(event.HeaderRejectedID); is {
			partition, _ := r.Header(event.HeaderPartition)
			offset, _ := r.Header(event.HeaderOffset)
			name = "rejected " + string(rejection) + " " + string(partition) + "/" + string(offset)
		} else if strings.HasPrefix(string(kind), "system.") {
			continue
		}
		content := xxhash.Sum64(r.Value)
		if before, again := ck.known[name]; again {
			ck.repeats++
			if before != content {
				ck.add(&ck.doubled, "outcome %s is there with two contents", name)
			}
			// A network element gets repeats as well.
			if h, d, err := model.ReadOutcome(r); err == nil && d != nil {
				ck.table.Apply(h.Subject, h.Kind, d)
			}
			continue
		}
		ck.known[name] = content
		ck.first++
		h, d, err := model.ReadOutcome(r)
		if err != nil {
			return err
		}
		if d != nil {
			last := ck.sequences[h.Subject]
			// After a tombstone is forgotten, and at a number that came by a transfer, the outcome before is another; the
			// model knows which.
			if h.Sequence <= last {
				ck.add(&ck.outOfOrder, "%s: sequence %d comes after %d", h.Subject, h.Sequence, last)
			}
			ck.sequences[h.Subject] = max(last, h.Sequence)
			ck.table.Apply(h.Subject, h.Kind, d)
		} else {
			ck.rejections[h.Reasons[0]]++
		}
		ck.published = append(ck.published, h)
	}
	return nil
}

// answers compares the answers of callers with the model.
func (ck *checker) answers(calls []answer) {
	w := ck.log[0].model
	for _, c := range calls {
		answers := w.Answers(c.id)
		allowed := slices.ContainsFunc(answers, func(a model.Answer) bool { return len(a.Codes) == 0 && len(a.Refusals) == 0 })
		allows := func(codes func(model.Answer) []string, code string) bool {
			return slices.ContainsFunc(answers, func(a model.Answer) bool {
				return slices.Contains(codes(a), code) || code == "CHANGE_INVALID" && len(codes(a)) > 1
			})
		}
		switch {
		case c.code != "":
			unasked := len(answers) == 0 && c.code == "SUBSCRIBER_NOT_FOUND"
			if !unasked && (allowed || !allows(func(a model.Answer) []string { return a.Codes }, c.code)) {
				ck.add(&ck.lost, "%s was answered %s; by the model %+v", c.id, c.code, answers)
			}
		case c.charge && !c.allowed:
			if allowed || !allows(func(a model.Answer) []string { return a.Refusals }, c.refusal) {
				ck.add(&ck.lost, "%s was refused for %s; by the model %+v", c.id, c.refusal, answers)
			}
		case !allowed:
			ck.add(&ck.doubled, "%s was accepted; by the model %+v", c.id, answers)
		}
	}
}

// number compares one number with the model: what a network element knows, what Authorize would answer it, and what the
// subscriber is shown. Answers are a batch behind what is published.
func (ck *checker) number(ctx context.Context, number string, w *model.Partition, until time.Time) error {
	for {
		wrong, err := ck.differences(ctx, number, w)
		if err != nil {
			return err
		}
		if len(wrong) == 0 {
			return nil
		}
		if time.Now().After(until) {
			for _, text := range wrong {
				ck.add(&ck.lost, "%s %s", number, text)
			}
			return nil
		}
		pause.For(ctx, 50*time.Millisecond)
	}
}

func (ck *checker) differences(ctx context.Context, number string, w *model.Partition) (wrong []string, err error) {
	views, _, alive := w.Look("acme", number)
	known := ck.table[number]
	if known == nil {
		known = &model.Entry{}
	}
	for i, v := range views {
		if want := alive && v.Blocked; known.Blocked[i] != want {
			wrong = append(wrong, fmt.Sprintf("%s is blocked by what was published: %t, by the model: %t", model.Options[i], known.Blocked[i], want))
		}
	}
	if !alive {
		return wrong, nil
	}
	conn, err := ck.bed.conn(ck.bed.address(0))
	if err != nil {
		return nil, err
	}
	// Authorize and the inventory use the class as it is now; outcomes used it as it was then.
	views, classKnown := w.AsShown("acme", number)
	enforcement, name := optionsv1.NewEnforcementServiceClient(conn), "tenants/acme/subscribers/"+number
	for i, v := range views {
		res, err := enforcement.Authorize(ctx, &optionsv1.AuthorizeRequest{Name: name, Use: &optionsv1.AuthorizeRequest_Option{Option: model.Options[i]}})
		if err != nil {
			var f *fault.Error
			if errors.As(err, &f) && f.Reason == "OPTION_NOT_OFFERED" && !v.Offered {
				continue
			}
			return append(wrong, err.Error()), nil
		}
		if !classKnown && res.GetReason() == "UNKNOWN" {
			continue
		}
		if res.GetReason() == "UNKNOWN" {
			return append(wrong, "is unknown to "+ck.bed.address(0)), nil
		}
		if denied := res.GetDecision() == optionsv1.AuthorizeResponse_DECISION_DENY; denied != v.Blocked {
			wrong = append(wrong, fmt.Sprintf("%s is denied: %t, by the model: %t", model.Options[i], denied, v.Blocked))
		}
	}
	shown, err := optionsv1.NewOptionInventoryServiceClient(conn).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: name})
	if err != nil {
		return append(wrong, err.Error()), nil
	}
	return append(wrong, model.Shown(shown, views)...), nil
}
