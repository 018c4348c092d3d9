package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/wire"
)

// MaxKey is how long a key may be, in bytes.
const MaxKey = 1 << 10

// ErrKeyTooLarge is of an event whose key is longer.
var ErrKeyTooLarge = errors.New("the key is longer than 1 KiB")

// cancelledBy reports whether events of a type cancel, or renew.
func (r *Rule) cancelledBy(t event.Type) bool {
	return r.state != nil && slices.ContainsFunc(r.state.cancels, func(c event.Type) bool { return c.Name == t.Name })
}

// states are those of a rule that an event concerns: the one that it matches, then those that it cancels or renews. An
// event that does both is a match, but for the end of a subscriber, which ends an absence.
func (r *Rule) states(seen *meeting, matches, cancels bool) ([]Keyed, error) {
	if r.state.kind.Absence != nil && cancels {
		return []Keyed{{Role: kind.Cancels}}, nil
	}
	var out []Keyed
	var failed error
	if matches {
		keys, err := seen.keys(r.state.key, "key")
		if failed = err; err == nil {
			out = []Keyed{{Key: keys[0], Role: kind.Matches}}
		}
	}
	if !cancels {
		return out, failed
	}
	role := kind.Renews
	holds, err := seen.holds(r.state.cancelFilter, "filter of cancelled_by")
	switch {
	case err != nil:
		return out, errors.Join(failed, err)
	case holds:
		role = kind.Cancels
	case !r.reads(seen.message):
		return out, failed
	}
	keys, err := seen.keys(r.state.cancelKey, "key of cancelled_by")
	for _, key := range keys {
		if !slices.ContainsFunc(out, func(k Keyed) bool { return k.Key == key }) {
			out = append(out, Keyed{key, role})
		}
	}
	return out, errors.Join(failed, err)
}

// reads reports whether the trigger's types have data of that message.
func (r *Rule) reads(message protoreflect.FullName) bool {
	return slices.ContainsFunc(r.types, func(t event.Type) bool { return messageOf(t) == message })
}

// keys evaluates a key; without one there is the empty one. Those that are too long are left out.
func (seen *meeting) keys(key programs, what string) ([]string, error) {
	if key == nil {
		return []string{""}, nil
	}
	keys, cost, err := key[seen.message].Keys(&seen.activation)
	if seen.spent += cost; err != nil {
		return nil, fmt.Errorf("evaluate %s: %w", what, err)
	}
	n := len(keys)
	if keys = slices.DeleteFunc(keys, func(k string) bool { return len(k) > MaxKey }); len(keys) < n {
		err = ErrKeyTooLarge
	}
	return keys, err
}

// At is where an event stands.
type At struct {
	// Now is the log time; Time is the event's own, not after it.
	Now, Time time.Time
	// Offset of its record in the log.
	Offset int64
	// Zone is the tenant's; nil for UTC.
	Zone *time.Location
}

// StateSize is the most that a state takes, in bytes.
func (r *Rule) StateSize() int { return r.state.kind.Size() }

// Apply folds an event that concerns a state into it. It is a function of its arguments: live, in a replay and in a dry run.
func (r *Rule) Apply(s kind.State, e *event.Event, role kind.Role, at At) (kind.State, kind.Result) {
	in := kind.Input{Role: role, Time: at.Time, Now: at.Now}
	k := r.state.in(at.Zone)
	switch {
	case role == kind.Renews:
		_, held := s.Pending()
		in.Event = renewed(held, e)
	case role == kind.Cancels:
	case r.Timed():
		in.Origin = kind.Origin{Source: e.Source, ID: e.ID, Time: e.Time, Offset: at.Offset}
		in.Event = hold(e)
		if k.Delayed != nil {
			in.Day = r.state.day(e.Fields(), at, k.Delayed.Zone)
		}
	default:
		var valid bool
		if in.Value, in.Before, in.Whole, valid = r.state.read(e.Fields()); !valid {
			if !r.active {
				return s, kind.Result{}
			}
			return s, kind.Result{Held: []kind.Held{{Reason: kind.Invalid}}}
		}
	}
	return k.Apply(s, in)
}

// Fire works the timer of a state that was due at a time.
func (r *Rule) Fire(s kind.State, due time.Time, zone *time.Location) (kind.State, kind.Result) {
	return r.state.in(zone).Fire(s, due)
}

// in is the kind for a tenant of a zone, where the rule names none.
func (s *stateful) in(zone *time.Location) *kind.Rule {
	if s.kind.Delayed == nil || s.kind.Delayed.Zone != nil {
		return &s.kind
	}
	k, d := s.kind, *s.kind.Delayed
	if d.Zone = zone; zone == nil {
		d.Zone = time.UTC
	}
	k.Delayed = &d
	return &k
}

// read is what a kind compares; valid is whether those are numbers that can be.
func (s *stateful) read(data proto.Message) (value, before, whole kind.Number, valid bool) {
	value, err := s.value.number(data)
	whole, wrong := s.whole.number(data)
	if err != nil || wrong != nil {
		return kind.Number{}, kind.Number{}, kind.Number{}, false
	}
	if before, err = s.before.number(data); err != nil {
		before = kind.Number{}
	}
	return value, before, whole, true
}

// day is what a delay counts from; its zero value where there is none. A date is that of the tenant's zone, as texts show it.
func (s *stateful) day(data proto.Message, at At, zone *time.Location) kind.Day {
	path := s.from[data.ProtoReflect().Descriptor().FullName()]
	if path == nil {
		return kind.DayOf(at.Time, zone)
	}
	v, _ := read(data, path)
	t, ok := v.(*timestamppb.Timestamp)
	if !ok || !t.IsValid() {
		return kind.Day{}
	}
	if !event.DateField(path[len(path)-1]) {
		return kind.DayOf(t.AsTime(), zone)
	}
	if at.Zone == nil {
		at.Zone = time.UTC
	}
	day := kind.DayOf(t.AsTime(), at.Zone)
	day.At = 0
	return day
}

// What a timer holds of an event is its type and its correlation behind their lengths, then its data: tenant and subject
// stand in the record's key, the rest in its Origin.

func hold(e *event.Event) []byte {
	b := make([]byte, 0, 128)
	b = appendText(b, e.Type)
	b = appendText(b, e.Correlation)
	return appendData(b, e.Data)
}

// renewed is what a timer holds with the data of another event, where that is of the same message; else as it is.
func renewed(held []byte, e *event.Event) []byte {
	r := wire.Reader{Rest: held}
	name, _ := r.Text(), r.Text()
	t, same := event.Lookup(name)
	if same = same && t.Data.ProtoReflect().Descriptor() == e.Data.ProtoReflect().Descriptor(); e.Declared != nil {
		same = name == e.Type
	}
	if r.Bad || !same {
		return held
	}
	return appendData(slices.Clone(held[:len(held)-len(r.Rest)]), e.Data)
}

func appendText(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func appendData(b []byte, data proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(b, data)
	if err != nil {
		panic("encode data of an event: " + err.Error()) // it was decoded, so its texts are UTF-8
	}
	return b
}

var errHeld = errors.New("what a timer holds is cut short, or of a type that is not known")

// Held is the event that a timer holds, as texts and channels read it; types are those that its tenant declares. With an
// error it has no data, and no type where that can't be read.
func Held(types *Types, tenant, subject string, set kind.Origin, held []byte) (*event.Event, error) {
	r := wire.Reader{Rest: held}
	e := &event.Event{ID: set.ID, Source: set.Source, Time: set.Time, Tenant: tenant, Subject: subject}
	name, correlation := r.Text(), r.Text()
	if r.Bad {
		return e, errHeld
	}
	e.Type, e.Correlation = name, correlation
	t, ok := types.Lookup(e.Type)
	if !ok {
		return e, errHeld
	}
	data := t.Wire()
	if err := proto.Unmarshal(r.Rest, data); err != nil {
		return e, fmt.Errorf("%w: %w", errHeld, err)
	}
	full := *e
	full.Data = data
	view, err := t.View(&full)
	if err != nil {
		return e, fmt.Errorf("what a timer holds is of another declaration of %s: %w", e.Type, err)
	}
	return view, nil
}
