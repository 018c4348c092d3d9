package loop

import (
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/display"
)

// linesPerSecond bounds the log lines of one kind that producers or receivers cause, of one partition.
const linesPerSecond = 20

// lines are log lines that producers or receivers cause: an endpoint that is given up settles ten thousand deliveries a
// second. Metrics and deliveries.attempts have all of them.
type lines struct {
	// rejected are records that are not deliveries; undelivered are deliveries that are settled without a receipt.
	rejected, undelivered *display.Limited
}

func newLines(log *zap.Logger) lines {
	return lines{
		rejected:    display.NewLimited(log, "record rejected", linesPerSecond),
		undelivered: display.NewLimited(log, "delivery not delivered", linesPerSecond),
	}
}

// logAttempt writes the log line of an attempt: a warning where the delivery is settled without a receipt.
func (o *owner) logAttempt(d *delivery.Delivery, r *result, out *delivery.Outcome) {
	fields := func() []zap.Field { return attemptFields(d, r, out) }
	if r.decision.Settlement.Undelivered() {
		o.lines.undelivered.Write(zap.WarnLevel, fields)
	} else if line := o.log.Check(zap.DebugLevel, "delivery attempted"); line != nil {
		line.Write(fields()...)
	}
}

func attemptFields(d *delivery.Delivery, r *result, out *delivery.Outcome) []zap.Field {
	fields := []zap.Field{
		zap.String("delivery", d.ID), zap.String("tenant", d.Tenant), zap.String("endpoint", d.Endpoint),
		zap.String("notification", d.Notification), zap.String("event_type", d.Event.Type), zap.Int64("offset", d.Offset),
		zap.Int("attempt", r.number), zap.Stringer("settlement", r.decision.Settlement), zap.String("reason", r.decision.Reason),
	}
	if d.ReplayJob != "" {
		fields = append(fields, zap.String("replay_job", d.ReplayJob))
	}
	if out != nil {
		fields = append(fields, zap.Int("status", out.Status), zap.String("error_class", out.ErrorClass),
			zap.String("error", out.Error), zap.Duration("took", out.Finished.Sub(out.Started)))
	}
	if !r.decision.Next.IsZero() {
		fields = append(fields, zap.Time("next_attempt", r.decision.Next))
	}
	return fields
}
