package ingest

import (
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// guarded parses what a producer sent. Should that panic, it is this input's fault and no other's: it is rejected as
// PANIC, and there is an incident.
func guarded[T any](log rejections, parse func(event.Parser, T) (*event.Event, error), p event.Parser, in T) (e *event.Event, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			log.log.Error("incident", zap.String("code", reason.Panic), zap.String("transport", log.transport),
				zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
			e, err = nil, fault.New(fault.Invalid, reason.Panic,
				"the event could not be read, for a reason that is ours: %v", panicked)
		}
	}()
	return parse(p, in)
}

// rejections writes the lines of events that were turned away, of which outsiders make as many as they like. It names
// no person.
type rejections struct {
	log       *zap.Logger
	transport string
	limited   *display.Limited
}

// linesPerSecond is of one transport; what is left out is counted.
const linesPerSecond = 100

func newRejections(log *zap.Logger, transport string) rejections {
	return rejections{log, transport, display.NewLimited(log, "event rejected", linesPerSecond)}
}

// write logs that an event was turned away, and for which fields; e is nil where nothing could be read. The
// descriptions go to the producer alone, since they repeat what it sent.
func (l rejections) write(e *event.Event, err error, from stream.Record) {
	l.limited.Write(zap.InfoLevel, func() []zap.Field { return l.fields(e, err, from) })
}

func (l rejections) fields(e *event.Event, err error, from stream.Record) []zap.Field {
	fields := make([]zap.Field, 0, 12)
	fields = append(fields, zap.String("transport", l.transport), zap.String("reason", fault.ReasonOf(err)))
	var wrong []string
	for _, v := range fault.ViolationsOf(err) {
		wrong = append(wrong, v.Field)
	}
	fields = append(fields, zap.Strings("fields", wrong))
	if e != nil {
		fields = append(fields, zap.String("event_id", e.ID), zap.String("source", e.Source),
			zap.String("type", e.Type),
			zap.String("tenant", e.Tenant), zap.Stringer("subject", display.Subject(e.Subject)))
	}
	if from.Topic != "" {
		fields = append(fields, zap.String("topic", from.Topic), zap.Int32("partition", from.Partition),
			zap.Int64("offset", from.Offset))
	}
	return fields
}
