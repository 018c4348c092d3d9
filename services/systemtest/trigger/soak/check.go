package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/trigger/model"
)

// check folds the log with the model and compares what it leads to with what was published.
type check struct {
	lost, doubled, outOfOrder int
	// repeats are records that were published before, under their id and with the same content.
	repeats  int
	examples []string

	log       []*partition
	published []*fleet.Tail
	known     map[string]uint64 // contents by id
	sequences map[string]int64  // the last one, by ordering key
	// lines are how often the model has one, less how often it was published.
	lines map[string]int
	kinds map[string]int // what was met, by rule or reason
}

// partition is one of the log, and the model of it.
type partition struct {
	tail  *fleet.Tail
	model *model.Model
}

func newCheck(f *fleet.Fleet) *check {
	c := &check{known: map[string]uint64{}, sequences: map[string]int64{}, lines: map[string]int{}, kinds: map[string]int{}}
	for p := range f.Partitions() {
		c.log = append(c.log, &partition{f.Follow(stream.EventsOrdered, int32(p)), model.New(ruleOf)})
		c.published = append(c.published, f.Follow("deliveries.webhook", int32(p)), f.Follow(stream.TriggersDecisions, int32(p)))
	}
	return c
}

func (c *check) wrong() bool { return c.lost+c.doubled+c.outOfOrder > 0 }

// add counts a fault and keeps the first ones in words.
func (c *check) add(count *int, format string, args ...any) {
	if *count++; len(c.examples) < 40 {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

// rests compares at a quiet point. What is not right yet is looked at again for a while: it may be worked still.
func (c *check) rests(ctx context.Context) error {
	const patience = 2 * time.Minute
	for until := time.Now().Add(patience); ; {
		if err := c.read(ctx); err != nil {
			return err
		}
		if len(c.lines) == 0 || time.Now().After(until) {
			break
		}
		if !pause.For(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
	}
	for _, line := range slices.Sorted(maps.Keys(c.lines)) {
		if n := c.lines[line]; n > 0 {
			c.add(&c.lost, "was not published: %s", line)
		} else {
			c.add(&c.doubled, "is not due, or was before: %s", line)
		}
	}
	clear(c.lines)
	fleet.Report("compared: %s; %d published again", c, c.repeats)
	return nil
}

// count adds n to a line, which goes where both have it as often.
func (c *check) count(line string, n int) {
	if c.lines[line] += n; c.lines[line] == 0 {
		delete(c.lines, line)
	}
}

// read takes what was added to the log, folds it, and then takes what was published.
func (c *check) read(ctx context.Context) error {
	for _, p := range c.log {
		if err := each(ctx, p.tail, p.fold); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		p.model.Pass(0) // what the last record set may be due at once
		for _, line := range p.model.Lines {
			c.count(line, 1)
		}
		p.model.Lines = nil
	}
	for _, t := range c.published {
		if err := each(ctx, t, c.collect); err != nil {
			return fmt.Errorf("read what was published: %w", err)
		}
	}
	return nil
}

func each(ctx context.Context, t *fleet.Tail, take func(stream.Record) error) error {
	for {
		records, err := t.Read(ctx)
		if err != nil || len(records) == 0 {
			return err
		}
		for _, r := range records {
			if err := take(r); err != nil {
				return err
			}
		}
	}
}

func (p *partition) fold(r stream.Record) error {
	e, err := event.Decode(r.Value)
	if err != nil {
		return err
	}
	p.model.Pass(r.Time.UnixMilli())
	if data, ok := e.Data.(*controlv1.Revision); ok {
		p.model.Revision = max(p.model.Revision, data.GetRevision())
	} else if !event.IsControl(e.Type) {
		p.model.Event(e)
	}
	return nil
}

// collect takes one record of what was published. One that is there again has the same content, and counts once.
func (c *check) collect(r stream.Record) error {
	content := xxhash.Sum64(r.Value)
	header, _ := r.Header(event.HeaderID)
	id := string(header)
	var line, kind, key string
	var sequence int64
	if strings.HasSuffix(r.Topic, stream.TriggersDecisions) {
		d := &triggerv1.Decision{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			return err
		}
		kind = strings.TrimPrefix(d.GetReason().String(), "REASON_")
		line = fmt.Sprintf("%d %s %s %s %s %q by %s at %d", d.GetRevision(), kind, d.GetEvent().GetSubject(), d.GetNotification(), d.GetEvent().GetId(),
			d.GetKey(), d.GetFiring(), d.GetTime().AsTime().UnixMilli())
	} else {
		d := &deliveryv1.Delivery{}
		if err := proto.Unmarshal(r.Value, d); err != nil {
			return err
		}
		id, kind, sequence = d.GetId(), "plan "+d.GetNotification(), d.GetSequence()
		key = d.GetEndpoint() + " " + d.GetEvent().GetSubject()
		text := strings.TrimSuffix(strings.TrimPrefix(string(d.GetBody()), `{"text":"`), `"}`)
		line = fmt.Sprintf("%d plan %s %s %s by %s at %d: %s, %d", d.GetRevision(), d.GetEvent().GetSubject(), d.GetNotification(), d.GetEvent().GetId(),
			d.GetFiring(), d.GetPlannedAt().AsTime().UnixMilli(), text, sequence)
	}
	if id == "" {
		return fmt.Errorf("what has no id was published: %s", line)
	}
	if before, again := c.known[id]; again {
		if c.repeats++; before != content {
			c.add(&c.doubled, "is there with two contents: %s", line)
		}
		return nil
	}
	c.known[id] = content
	c.kinds[kind]++
	c.count(line, -1)
	if sequence > 0 {
		if last := c.sequences[key]; sequence != last+1 {
			c.add(&c.outOfOrder, "came first after number %d: %s", last, line)
		}
		c.sequences[key] = max(c.sequences[key], sequence)
	}
	return nil
}

// String counts what was published by rule and reason.
func (c *check) String() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(c.kinds)) {
		parts = append(parts, fmt.Sprintf("%d %s", c.kinds[kind], kind))
	}
	return strings.Join(parts, ", ")
}

// missing are rules and reasons that the run never came upon.
func (c *check) missing() (out []string) {
	want := []string{"CAP", "CANCELLED"}
	for _, code := range model.Codes {
		want = append(want, "plan "+code)
	}
	for _, kind := range want {
		if c.kinds[kind] == 0 {
			out = append(out, kind)
		}
	}
	return out
}
