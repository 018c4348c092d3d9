package api

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// Planner is the planning that is asked about: that of the service that answers.
type Planner interface {
	// Latest is the newest configuration that is known; false while there is none.
	Latest() (Book, bool)
	// Logs are those that deliveries are planned from, Partition is that of a key, which has tenant and subject.
	Logs() []Log
	Partition(l Log, key string) int32
	// Explain folds the log of an event's subject again and hands over what came of the event, and of the timers it has
	// set as far as the log is read. Progress may end it there, by returning false.
	Explain(ctx context.Context, l Log, partition int32, offset int64, e *event.Event, progress func(offset, end int64) bool) (*Explained, error)
}

// Log is one that deliveries are planned from.
type Log struct {
	// Domain of its engine, and its topic, with prefix.
	Domain, Topic string
	// Has reports whether a type's events are there.
	Has func(event.Type) bool
}

// Book is one revision of the configuration.
type Book interface {
	// Has reports whether there is a tenant, and Zone is its own.
	Has(tenant string) bool
	Zone(tenant string) *time.Location
	// Notification by its resource name, active or not; nil where there is none.
	Notification(name string) *configv1.Notification
	// Try compiles a notification to be tried with the tenants and targets of the book, as if it were active.
	Try(n *configv1.Notification) (Trial, error)
}

// Trial is a notification that is tried.
type Trial interface {
	Rule() *rules.Rule
	// Fold works a part of a log with nothing before it, by the code that plans, and hands over what comes of it, in order.
	// pending are the timers that are due after the log time at its end. It publishes nothing. wanted chooses by their
	// numbers the firings that are marked with their events.
	Fold(ctx context.Context, p Past, wanted func(uint64) bool, visit func(Mark)) (pending int64, err error)
	// Messages are those of an event that fires it, rendered from another form of the event; firing is the name of what fires.
	Messages(e, shown *event.Event, now time.Time, firing string) []*triggerv1.PreviewedMessage
	// Problems are why actions plan nothing for any event.
	Problems() []*triggerv1.DryRunProblem
}

// Past is a part of one partition of a log.
type Past struct {
	// Domain is the engine's that plans from the log, Topic its name, Number that of the partition.
	Domain, Topic string
	Number        int32
	Log           replay.Log
	// Begin is where it begins, with nothing before it, and Until the offset before which it ends.
	Begin replay.Begin
	Until int64
	// MaxBytes of states, 0 for no bound. Ahead is asked before each fetch; false ends it there.
	MaxBytes int64
	Ahead    func(offset int64) bool
}

// Mark is one thing that comes of an event or a timer.
type Mark struct {
	Kind MarkKind
	// Time is the log time, or when the timer was due; Offset is the event's, or of the one that set the timer.
	Time    time.Time
	Offset  int64
	Subject string
	// Firing is its name; Delivery the id of what is planned; Decision is why something is held back.
	Firing   string
	Delivery string
	Decision *triggerv1.Decision
	// Number of a firing: by chance, and always the same. Event of some of them, encoded.
	Number uint64
	Event  []byte
}

// MarkKind is what a Mark is.
type MarkKind byte

// Kinds of marks.
const (
	Fired MarkKind = iota
	Planned
	Held
	// NoBefore is a value that could not be compared with one before it.
	NoBefore
)

// Explained is what came of one event.
type Explained struct {
	Revision int64
	// Assumed: the log does not show which it was.
	Assumed bool
	// Log time at the event.
	Time time.Time
	// Notifications of the event's type, or that it cancels, by code, and those that are not active or can't be compiled.
	Notifications []Considered
	// ReadTo is how far the log was read.
	ReadTo int64
	// StateFrom is the offset before which nothing is known of the states: neither the log nor a snapshot reaches back; 0 where
	// all is known.
	StateFrom int64
}

// Considered is what an event was to one notification.
type Considered struct {
	Notification *configv1.Notification
	// Rule is nil where it can't be compiled; Err is why.
	Rule *rules.Rule
	Err  error
	// OtherType: the rule does not read the event's type. Repeated: the event was counted before.
	OtherType, Repeated bool
	// Match is what the event was to the rule; NoTarget that no action has one.
	Match    rules.Match
	NoTarget bool
	// Deliveries planned, decisions taken, and when the timer that the event has set is due.
	Deliveries []*triggerv1.ExplainedDelivery
	Decisions  []*triggerv1.Decision
	Pending    time.Time
}
