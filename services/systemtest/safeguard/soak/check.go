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
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// verdict counts what is wrong.
type verdict struct {
	// lost are events and outcomes that nobody was told, and counters, blocks and answers that are not as they should be.
	lost int
	// doubled are outcomes that were told besides: one crossing under two ids, one id with two contents, what the model
	// does not know; and counters that are too high.
	doubled int
	// outOfOrder are first appearances behind a later one of their subject, or whose previous sequence is not that of the
	// one before.
	outOfOrder int

	first, repeats, compared int
	// rejections are how many events were rejected, by reason.
	rejections map[string]int
	examples   []string
}

func (v *verdict) add(count *int, format string, args ...any) {
	*count++
	const enough = 20
	if len(v.examples) < enough {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

func (v *verdict) wrong() bool { return v.lost+v.doubled+v.outOfOrder > 0 }

// judge folds the log with the model and holds everything that can be seen from outside against it.
type judge struct {
	verdict
	bed       *bed
	config    configv1.ConfigWatchServiceClient
	snapshots map[position]*configv1.Snapshot
	histories map[int64]uint64 // of revisions that stand in the log

	log       []*lane
	outcomes  []*fleet.Tail
	rejected  []*fleet.Tail
	table     model.Table
	seen      map[string]struct{} // events that stand in the log, by nameOf
	known     map[string]uint64   // contents of outcomes and rejections, by id
	sequences map[string]int64    // last one, by subject
	numbers   map[string]*model.World

	meant, heard []model.Said
}

// lane is a partition of the log, as far as it was read, and the model's world of it.
type lane struct {
	tail     *fleet.Tail
	pending  []stream.Record
	world    *model.World
	revision int64
}

func newJudge(b *bed, config configv1.ConfigWatchServiceClient) *judge {
	j := &judge{
		verdict: verdict{rejections: map[string]int{}}, bed: b, config: config, snapshots: map[position]*configv1.Snapshot{}, histories: map[int64]uint64{}, table: model.Table{}, seen: map[string]struct{}{}, known: map[string]uint64{},
		sequences: map[string]int64{}, numbers: map[string]*model.World{},
	}
	first := model.New()
	for p := range int32(partitions) {
		j.log = append(j.log, &lane{tail: b.fleet.Follow(eventsOrdered, p), world: first.Beside()})
		j.outcomes = append(j.outcomes, b.fleet.Follow(stream.Safeguards, p))
		j.rejected = append(j.rejected, b.fleet.Follow(stream.EventsRejected, p))
	}
	return j
}

// rests compares at a quiet point. What is due within a minute may be worked at its end, and a batch is committed a moment
// after it is told: so what is not right yet is looked at again for a while.
func (j *judge) rests(ctx context.Context, calls []told) error {
	const patience = 2 * time.Minute
	until := time.Now().Add(patience)
	for {
		if err := j.read(ctx); err != nil {
			return err
		}
		if j.open() == 0 && len(model.Compare(j.meant, j.heard)) == 0 || time.Now().After(until) {
			break
		}
		pause(ctx, time.Second)
	}
	if n := j.open(); n > 0 {
		j.add(&j.lost, "%d events stayed between two numbers", n)
	}
	j.compare()
	j.answers(calls)
	for number, w := range j.numbers {
		if err := j.number(ctx, number, w, until); err != nil {
			return err
		}
	}
	return nil
}

// open are events that one number hands to another and that are not there yet.
func (j *judge) open() int {
	n := j.log[0].world.Owed()
	for _, l := range j.log {
		n += len(l.pending)
	}
	return n
}

// alive says whether a number has a subscriber.
func (j *judge) alive(number string) bool {
	w := j.numbers[number]
	if w == nil {
		return false
	}
	_, _, alive := w.Look("acme", number)
	return alive
}

// compare counts what is wrong with what was told since the last time.
func (j *judge) compare() {
	for _, w := range model.Compare(j.meant, j.heard) {
		if w.Lost {
			j.add(&j.lost, "%s", w.Text)
		}
		if w.Doubled {
			j.add(&j.doubled, "%s", w.Text)
		}
	}
	j.compared += len(j.meant)
	j.meant, j.heard = nil, nil
}

// read takes what was added to the topics, and folds it.
func (j *judge) read(ctx context.Context) error {
	for _, l := range j.log {
		records, err := all(ctx, l.tail)
		if err != nil {
			return err
		}
		l.pending = append(l.pending, records...)
	}
	for moved := true; moved; {
		moved = false
		for _, l := range j.log {
			n, err := j.fold(ctx, l)
			if err != nil {
				return err
			}
			moved = moved || n > 0
		}
	}
	for p, l := range j.log {
		if len(l.pending) == 0 {
			l.world.Pass(l.world.Now())
		}
		for _, s := range l.world.Take() {
			if s.Kind == "rejected" {
				s.Partition = int32(p)
			}
			j.meant = append(j.meant, s)
		}
	}
	// What was published before the log was read is what there is to hear, and perhaps more: it is looked at again.
	for _, tail := range slices.Concat(j.outcomes, j.rejected) {
		records, err := all(ctx, tail)
		if err != nil {
			return err
		}
		if err := j.hear(records); err != nil {
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

// fold lets happen what stands in a partition, up to a subscriber that has not left its number yet.
func (j *judge) fold(ctx context.Context, l *lane) (n int, err error) {
	for ; n < len(l.pending); n++ {
		r := l.pending[n]
		e, err := event.Decode(r.Value)
		if err != nil {
			return n, fmt.Errorf("read the log: %w", err)
		}
		if l.world.Waits(e) {
			break
		}
		if d, ok := e.Data.(*controlv1.Revision); ok {
			at := position{d.GetHistory(), d.GetRevision()}
			if before, named := j.histories[at.revision]; named && before != at.history {
				j.add(&j.doubled, "revision %d stands in the log of two histories, %x and %x", at.revision, before, at.history)
			}
			j.histories[at.revision] = at.history
			if at.revision > l.revision {
				s, err := j.snapshot(ctx, at)
				if err != nil {
					return n, err
				}
				l.world.Configure(r.Time, s)
				l.revision = at.revision
			} else {
				// One that another replica appended as well changes nothing, but it too says how late it is.
				l.world.Pass(r.Time)
			}
			continue
		}
		l.world.Happen(r.Time, e)
		j.seen[nameOf(e.Subject, e.ID)] = struct{}{}
		if !strings.HasPrefix(e.Type, "system.") {
			j.numbers[e.Subject] = l.world
		}
		if e.Type == "system.transfer" {
			j.numbers[e.Subject] = l.world
		}
	}
	l.pending = l.pending[n:]
	return n, nil
}

// hear takes records of a partition, in their order. Repeats have the same bytes.
func (j *judge) hear(records []stream.Record) error {
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
		if before, again := j.known[name]; again {
			j.repeats++
			if before != content {
				j.add(&j.doubled, "outcome %s stands there with two contents", name)
			}
			// A network element hears repeats as well.
			if h, d, err := model.Heard(r); err == nil && d != nil {
				j.table.Hear(h.Subject, h.Kind, d)
			}
			continue
		}
		j.known[name] = content
		j.first++
		h, d, err := model.Heard(r)
		if err != nil {
			return err
		}
		if d != nil {
			last := j.sequences[h.Subject]
			// After the mark of one that is gone is forgotten, and at a number that somebody brought along, the one before
			// is another; the model knows which.
			if h.Sequence <= last {
				j.add(&j.outOfOrder, "%s: sequence %d comes after %d", h.Subject, h.Sequence, last)
			}
			j.sequences[h.Subject] = max(last, h.Sequence)
			j.table.Hear(h.Subject, h.Kind, d)
		} else {
			j.rejections[h.Reasons[0]]++
		}
		j.heard = append(j.heard, h)
	}
	return nil
}

// answers holds what callers were told against the model.
func (j *judge) answers(calls []told) {
	w := j.log[0].world
	for _, c := range calls {
		answers := w.Answers(c.id)
		allowed := slices.ContainsFunc(answers, func(a model.Answer) bool { return len(a.Codes) == 0 && len(a.Refusals) == 0 })
		told := func(codes func(model.Answer) []string, code string) bool {
			return slices.ContainsFunc(answers, func(a model.Answer) bool {
				return slices.Contains(codes(a), code) || code == "CHANGE_INVALID" && len(codes(a)) > 1
			})
		}
		switch {
		case c.code != "":
			unasked := len(answers) == 0 && c.code == "SUBSCRIBER_NOT_FOUND"
			if !unasked && (allowed || !told(func(a model.Answer) []string { return a.Codes }, c.code)) {
				j.add(&j.lost, "%s was answered %s; by the model %+v", c.id, c.code, answers)
			}
		case c.charge && !c.allowed:
			if allowed || !told(func(a model.Answer) []string { return a.Refusals }, c.refusal) {
				j.add(&j.lost, "%s was refused for %s; by the model %+v", c.id, c.refusal, answers)
			}
		case !allowed:
			j.add(&j.doubled, "%s was accepted; by the model %+v", c.id, answers)
		}
	}
}

// number holds one number against the model: what a network element knows, what it would be told if it asked, and what the
// subscriber is shown. Answers are a batch behind what is told.
func (j *judge) number(ctx context.Context, number string, w *model.World, until time.Time) error {
	for {
		wrong, err := j.differences(ctx, number, w)
		if err != nil {
			return err
		}
		if len(wrong) == 0 {
			return nil
		}
		if time.Now().After(until) {
			for _, text := range wrong {
				j.add(&j.lost, "%s %s", number, text)
			}
			return nil
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (j *judge) differences(ctx context.Context, number string, w *model.World) (wrong []string, err error) {
	views, _, alive := w.Look("acme", number)
	known := j.table[number]
	if known == nil {
		known = &model.Entry{}
	}
	for i, v := range views {
		if want := alive && v.Blocked; known.Blocked[i] != want {
			wrong = append(wrong, fmt.Sprintf("%s is blocked by what was told: %t, by the model: %t", model.Options[i], known.Blocked[i], want))
		}
	}
	if !alive {
		return wrong, nil
	}
	conn, err := j.bed.conn(j.bed.address(0))
	if err != nil {
		return nil, err
	}
	// What is asked is answered by what the class says by now, what was told by what it said then.
	views, judged := w.Judged("acme", number)
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
		if !judged && res.GetReason() == "UNKNOWN" {
			continue
		}
		if res.GetReason() == "UNKNOWN" {
			return append(wrong, "is unknown to "+j.bed.address(0)), nil
		}
		if denied := res.GetVerdict() == optionsv1.AuthorizeResponse_VERDICT_DENY; denied != v.Blocked {
			wrong = append(wrong, fmt.Sprintf("%s is denied: %t, by the model: %t", model.Options[i], denied, v.Blocked))
		}
	}
	shown, err := optionsv1.NewOptionInventoryServiceClient(conn).ListOptions(ctx, &optionsv1.ListOptionsRequest{Parent: name})
	if err != nil {
		return append(wrong, err.Error()), nil
	}
	return append(wrong, model.Shown(shown, views)...), nil
}
