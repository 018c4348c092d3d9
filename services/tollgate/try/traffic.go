package try

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/pause"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// charge is one sample usage, and what it must lead to.
type charge struct {
	// cents of EUR, without VAT.
	cents int64
	// outcomes are the notifications it causes, in their order.
	outcomes []string
	// repeat sends the same event again, under its id.
	repeat bool
}

// charges of one subscriber: the alert at 40.00 of 50.00, then the limit.
var charges = []charge{
	{cents: 1240},
	{cents: 1240, repeat: true},
	{cents: 2880, outcomes: []string{"safeguard.alert"}},
	{cents: 930, outcomes: []string{"safeguard.reached"}},
}

// traffic is the first journey without a pause, and then the same with one subscriber after the other, at leisure.
func (r *run) traffic(ctx context.Context) error {
	if err := r.dial(ctx, "safeguard", &r.optionsConn); err != nil {
		return err
	}
	if err := r.actions(ctx); err != nil {
		return err
	}
	for n := 1; ; n++ {
		rest := r.cfg.Pause
		if n == 1 {
			rest = 0
		}
		if err := r.journey(ctx, n, rest); err != nil {
			return err
		}
		switch {
		case n > 1:
		case r.installation == nil:
			r.story.plain("\nThat was the whole journey. It goes on with other subscribers until interrupted.\n")
		default:
			lines, err := r.next(ctx)
			if err != nil {
				return err
			}
			r.story.plain("\nThat was the whole journey. It goes on with other subscribers until interrupted (Ctrl-C). In another terminal:\n\n  %s\n",
				strings.Join(lines, "\n  "))
		}
	}
}

// journey is one subscriber's: n counts them within the run.
func (r *run) journey(ctx context.Context, n int, rest time.Duration) error {
	// Numbers of a country code that is not assigned.
	msisdn := fmt.Sprintf("999%05d%04d", r.folder.kept.Run%100_000, n%10_000)
	id := func(step int) string { return fmt.Sprintf("try-%d-%d-%d", r.folder.kept.Run, n, step) }
	activation := &event.Event{
		ID: id(0), Source: source, Type: "subscriber.activated", Tenant: tenant, Subject: msisdn, Time: time.Now(),
		Data: &eventv1.SubscriberActivated{ClassOfService: class, Language: "en"},
	}
	if err := r.publish(ctx, "activated", fmt.Sprintf("subscriber %s, class of service %s", msisdn, class), activation); err != nil {
		return err
	}
	var spent int64
	var usage *event.Event
	for i, c := range charges {
		if rest > 0 {
			if err := r.rest(ctx, rest); err != nil {
				return err
			}
		}
		word, text := "used", euros(c.cents)+" of roaming data by "+msisdn
		if c.repeat {
			word, text = "sent again", "the same usage, under the same id"
		} else {
			spent += c.cents
			usage = &event.Event{
				ID: id(i + 1), Source: source, Type: "usage.charged", Tenant: tenant, Subject: msisdn, Time: time.Now(),
				Data: &eventv1.UsageCharged{
					Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, VisitedCountry: "FR", Unit: "byte",
					Quantity: c.cents << 16, Net: inEuros(c.cents),
				},
			}
		}
		sent := time.Now()
		if err := r.publish(ctx, word, text, usage); err != nil {
			return err
		}
		if c.repeat {
			// Whether it was counted again shows once something behind it is.
			continue
		}
		if err := r.counted(ctx, msisdn, spent, i > 0 && charges[i-1].repeat); err != nil {
			return err
		}
		for _, kind := range c.outcomes {
			if err := r.received(ctx, msisdn, kind, sent); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) publish(ctx context.Context, word, text string, e *event.Event) error {
	r.story.waitFor(fmt.Sprintf("ingest to accept %s %s", e.Type, e.ID))
	res, err := ingestv1.NewIngestServiceClient(r.ingestConn).Publish(ctx, &ingestv1.PublishRequest{Event: e.Proto()})
	if err != nil {
		return fmt.Errorf("publish %s %s: %w", e.Type, e.ID, err)
	}
	at := res.GetReceipt()
	r.story.step(word, "%s: accepted at %s/%d/%d", text, at.GetTopic(), at.GetPartition(), at.GetOffset())
	return nil
}

// counted waits until the safeguard shows what must have been spent; repeated is true where a usage before was sent twice.
func (r *run) counted(ctx context.Context, msisdn string, cents int64, repeated bool) error {
	want := euros(cents)
	r.story.waitFor(fmt.Sprintf("%s to be counted for %s", want, msisdn))
	shown, err := r.safeguard(ctx, msisdn, func(shown *optionsv1.DataSafeguard) bool { return inCents(shown.GetSpent()) >= cents })
	if err != nil {
		return err
	}
	spent := inCents(shown.GetSpent())
	if spent != cents {
		return fmt.Errorf("%s has spent %s, and %s was counted", msisdn, want, euros(spent))
	}
	text := fmt.Sprintf("spent %s of %s", euros(spent), euros(inCents(shown.GetLimit())))
	if repeated {
		text += ": what was sent twice counts once"
	}
	if shown.GetReached() {
		text += ": limit reached, roaming data is blocked"
	}
	r.story.step("counted", "%s", text)
	return nil
}

// safeguard asks until there is an answer that is enough.
func (r *run) safeguard(ctx context.Context, msisdn string, enough func(*optionsv1.DataSafeguard) bool) (*optionsv1.DataSafeguard, error) {
	inventory := optionsv1.NewOptionInventoryServiceClient(r.optionsConn)
	for {
		shown, err := inventory.GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{
			Name: "tenants/" + tenant + "/subscribers/" + msisdn + "/options/dataSafeguard",
		})
		kind := fault.KindOf(err)
		if err == nil && enough(shown) {
			return shown, nil
		}
		if err != nil && kind != fault.NotFound && kind != fault.Unavailable {
			return nil, fmt.Errorf("ask for the data safeguard of %s: %w", msisdn, err)
		}
		if !pause.For(ctx, look) {
			return nil, errors.Join(context.Cause(ctx), err)
		}
	}
}

// received waits for the webhook of that kind about this subscriber, and for the e-mail beside it.
func (r *run) received(ctx context.Context, msisdn, kind string, sent time.Time) error {
	notified, mailed := false, r.mail == nil
	for !notified || !mailed {
		if notified {
			r.story.waitFor(fmt.Sprintf("the e-mail beside the %s %s of %s at %s", journeyChannel, kind, msisdn, r.mail.address()))
		} else {
			r.story.waitFor(fmt.Sprintf("the %s %s of %s at %s", journeyChannel, kind, msisdn, r.receiver.url()))
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case got := <-r.mail.letters():
			r.reportMail(got)
			// People may have notifications of their own.
			mailed = mailed || !got.Repeat && got.To == jane && strings.Contains(got.Subject, msisdn)
		case got := <-r.receiver.arrived:
			b := r.report(got, msisdn, sent)
			switch {
			case !got.Verified:
				return fmt.Errorf("%s %s could not be verified: %s", journeyChannel, got.ID, got.Fault)
			case r.cfg.Once && !got.Repeat:
				return errShown
			case b.Type == kind && b.Subject == msisdn && !got.Repeat:
				notified = true
			}
		}
	}
	return nil
}

// reportMail prints that an e-mail came.
func (r *run) reportMail(got letter) {
	again := ""
	if got.Repeat {
		again = ", again under the same Message-ID"
	}
	r.story.step("e-mail", "from %s to %s: %s%s", got.From, got.To, got.Subject, again)
}

// report prints that a webhook came; where it is about msisdn, how long after sent.
func (r *run) report(got received, msisdn string, sent time.Time) body {
	var b body
	what := "a body of another profile"
	if json.Unmarshal(got.Body, &b) == nil && b.Type != "" {
		what = fmt.Sprintf("%s of %s by notification %s", b.Type, b.Subject, b.Notification)
	}
	switch {
	case !got.Verified:
		r.story.step(journeyChannel, "refused: %s (%s)", got.Fault, got.ID)
	case got.Repeat:
		r.story.step(journeyChannel, "%s came again under the same id, the receiver drops it (%s)", what, got.ID)
	case b.Subject == msisdn:
		r.story.step(journeyChannel, "%s: received, signature verified, %d ms after the usage was sent (%s)", what, got.Time.Sub(sent).Milliseconds(), got.ID)
	default:
		r.story.step(journeyChannel, "%s: received, signature verified (%s)", what, got.ID)
	}
	return b
}

// rest waits between events, and prints what comes meanwhile: a person may try things out.
func (r *run) rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case got := <-r.receiver.arrived:
			r.report(got, "", time.Time{})
		case got := <-r.mail.letters():
			r.reportMail(got)
		}
	}
}

func inEuros(cents int64) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: cents / 100, Nanos: int32(cents%100) * 10_000_000}
}

func inCents(m *money.Money) int64 { return m.GetUnits()*100 + int64(m.GetNanos())/10_000_000 }

func euros(cents int64) string { return fmt.Sprintf("%d.%02d EUR", cents/100, cents%100) }
