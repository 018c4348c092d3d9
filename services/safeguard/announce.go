package safeguard

import (
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// announcer keeps metrics and writes log lines of what was published.
type announcer struct {
	log     *zap.Logger
	metrics *metrics
	clock   func() time.Time
}

// published takes outcomes once they are acknowledged. A subscriber that is blocked, or no longer, has a line of its
// own: it is what people ask about.
func (a *announcer) published(records []stream.Record) {
	for _, r := range records {
		name, _ := r.Header(event.HeaderType)
		kind, ours := strings.CutPrefix(string(name), account.TypePrefix)
		if _, rejected := r.Header(event.HeaderReason); rejected || !ours {
			continue
		}
		if counter, ok := a.metrics.outcomes[kind]; ok {
			counter.Inc()
		}
		switch kind {
		case account.KindReached, account.KindReleased, account.KindOvershoot:
			if e, err := event.Decode(r.Value); err == nil {
				a.announce(kind, e)
			}
		}
	}
}

func (a *announcer) announce(kind string, e *event.Event) {
	d, ok := e.Data.(*eventv1.Safeguard)
	if !ok {
		return
	}
	if kind == account.KindOvershoot {
		if limit := amountOf(d.GetLimit()); limit > 0 {
			a.metrics.overshoot.Observe(float64(amountOf(d.GetOvershoot())) / float64(limit))
		}
		return
	}
	fields := []zap.Field{
		zap.String("tenant", e.Tenant), zap.Stringer("msisdn", display.Subject(e.Subject)), zap.Stringer("option", account.OptionOf(d.GetOption())),
		zap.String("reason", d.GetReason()), zap.Stringer("spent", amountOf(d.GetSpent())), zap.Stringer("limit", amountOf(d.GetLimit())),
		zap.String("currency", d.GetLimit().GetCurrencyCode()), zap.String("class_of_service", d.GetClassOfService()),
		zap.Time("period_end", d.GetPeriodEnd().AsTime()), zap.Int64("sequence", d.GetSequence()), zap.String("event_id", e.ID),
		zap.String("cause_id", d.GetCause().GetEvent().GetId()), zap.String("cause_timer", d.GetCause().GetTimer().GetName()),
	}
	if d.GetCauseReceivedAt() != nil {
		lead := max(0, a.clock().Sub(d.GetCauseReceivedAt().AsTime()))
		fields = append(fields, zap.Duration("lead", lead))
		if kind == account.KindReached {
			a.metrics.lead.Observe(lead.Seconds())
		}
	}
	if kind == account.KindReached {
		a.log.Info("limit reached", fields...)
		return
	}
	a.log.Info("block released", fields...)
}

func amountOf(m interface {
	GetUnits() int64
	GetNanos() int32
}) spend.Amount {
	a, _ := spend.AmountOf(m.GetUnits(), m.GetNanos()) // our own, which fits
	return a
}
