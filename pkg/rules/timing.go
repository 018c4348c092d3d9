package rules

import (
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	"github.com/tollgate/tollgate/pkg/template"
)

// maxCollapse bounds the text of which one delivery is sent, as a template and rendered, in bytes.
const maxCollapse = 1 << 10

// Timing is when a delivery may be sent, and which others it replaces.
type Timing struct {
	// NotBefore is the end of the quiet hours, ExpiresAt the latest time to send; each may be zero.
	NotBefore, ExpiresAt time.Time
	// Collapse is the text of which only the newest delivery that waits for the target is sent; empty where each is.
	Collapse string
}

// compileTiming compiles what becomes the timing of the action's deliveries.
func (p *Plan) compileTiming(n Notification, a Action, scopes []template.Scope, path string, f *fault.Violations) {
	var inner fault.Violations
	quiet := channel.DecodeQuiet(a.Quiet, &inner)
	f.AddErr(path+".quiet", inner.Err(ReasonInvalid))
	opts := template.Options{Most: maxCollapse}
	if a.Channel != nil {
		opts.NoContact = a.Channel.NoContact
	}
	var collapse *template.Template
	if a.Collapse != "" {
		collapse = template.Compile(a.Collapse, scopes, opts, path+".collapse", f)
	}
	if a.Channel != nil && !a.Channel.Served() {
		for _, given := range []struct {
			field string
			is    bool
		}{{"expires_after", a.ExpiresAfter != 0}, {"collapse", a.Collapse != ""}, {"quiet", a.Quiet != nil}} {
			if given.is {
				f.Add(path+"."+given.field, "must not be with a %s: it is published at once", a.Channel.Name)
			}
		}
	}
	if n.LegalNotice {
		return // neither held back nor replaced
	}
	p.quiet, p.collapse = quiet, collapse
	if collapse != nil {
		p.cost.Add(collapse.Cost)
	}
}

// Timing is that of the delivery to one recipient that is planned at the occasion.
func (r *Rule) Timing(p *Plan, o *Occasion, to channel.Recipient) (Timing, error) {
	var t Timing
	if p.ExpiresAfter > 0 {
		t.ExpiresAt = o.Now.Add(p.ExpiresAfter)
	}
	if p.quiet != nil {
		t.NotBefore = p.quietUntil(o, to)
	}
	if p.collapse == nil {
		return t, nil
	}
	a := acting{o, r, p}
	done := a.Once(collapseKey{p}, func() any {
		// The text leaves for nobody, so it may hold what the target may not: without it, subscribers would replace each
		// other.
		values, err := a.values(channel.Contact)
		if err != nil {
			return rendered{err: err}
		}
		text, err := p.collapse.Execute(values, a.Reader())
		if err == nil && len(text) > maxCollapse {
			err = fmt.Errorf("%w: collapse takes %d bytes, at most %d", channel.ErrTooLarge, len(text), maxCollapse)
		}
		return rendered{text, err}
	}).(rendered)
	if done.err != nil {
		return t, fmt.Errorf("collapse: %w", done.err)
	}
	if t.Collapse = done.text; t.Collapse != "" && to.Address != "" {
		t.Collapse += "\n" + to.Address // recipients do not replace each other
	}
	return t, nil
}

// Keys of what the deliveries of an action share.
type (
	collapseKey struct{ plan *Plan }
	quietKey    struct {
		plan *Plan
		zone string
	}
)

// quietUntil is the end of the quiet hours that the occasion lies in; zero where it lies in none. They are by the clocks of
// the recipient, where its zone is known, else of the action, else of the tenant.
func (p *Plan) quietUntil(o *Occasion, to channel.Recipient) time.Time {
	zone := time.UTC
	for _, known := range []*time.Location{to.Zone, p.quiet.Zone, o.Zone} {
		if known != nil {
			zone = known
			break
		}
	}
	return acting{o, nil, p}.Once(quietKey{p, zone.String()}, func() any { return quietEnd(p.quiet.Hours, o.Now, zone) }).(time.Time)
}

// quietEnd is the end of the spans that a time lies in, one behind the other; zero where it lies in none.
func quietEnd(spans []channel.Hours, now time.Time, zone *time.Location) time.Time {
	end := now
	for again := true; again; {
		again = false
		today := kind.DayOf(end, zone)
		for _, h := range spans {
			for ahead := -1; ahead <= 0; ahead++ {
				first, last := span(h, today, ahead, zone)
				if !first.IsZero() && !first.After(end) && last.After(end) {
					end, again = last, true
				}
			}
		}
	}
	if end.Equal(now) {
		return time.Time{}
	}
	return end.UTC()
}

// span is that of the hours that begin so many days after a day; zero where they begin on another day of the week.
func span(h channel.Hours, of kind.Day, ahead int, zone *time.Location) (first, last time.Time) {
	if !h.Days[time.Date(of.Year, of.Month, of.Day+ahead, 0, 0, 0, 0, time.UTC).Weekday()] {
		return first, last
	}
	from, to := of, of
	from.Day, from.At = of.Day+ahead, h.Start
	to.Day, to.At = of.Day+ahead, h.End
	if h.End <= h.Start {
		to.Day++
	}
	return kind.Moment(from, zone), kind.Moment(to, zone)
}
