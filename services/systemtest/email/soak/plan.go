package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// plan plans e-mail as trigger does: to some recipients of each profile, half of it ordered, a part of the rest with an end.
type plan struct {
	profiles *profiles
	topic    string
	rand     *rand.Rand
	count    int
	keys     map[string]*delivery.Delivery // the last of each
}

const (
	batch = 8
	// recipients of each profile; subjects are the ordering keys of one of them.
	recipients = 16
	subjects   = 3
)

// Recipients by the beginning of their address: no mailbox has the one, a rule refuses the other.
const (
	goneUser    = "gone-"
	refusedUser = "refused-"
	// refusedByPolicy is as refused, by a status code of policies.
	refusedByPolicy = "policy-"
)

// user is the recipient of a number. A ninth of e-mail goes to those that take none.
func (p *plan) user() string {
	n := p.rand.IntN(recipients)
	switch p.rand.IntN(27) {
	case 0:
		// One of many: each is suppressed once it was found not to exist.
		return fmt.Sprint(goneUser, p.rand.IntN(200))
	case 1:
		return fmt.Sprint(refusedUser, n)
	case 2:
		return fmt.Sprint(refusedByPolicy, n)
	}
	return fmt.Sprint("user-", n)
}

func newPlan(b *soak.Bed, c *soak.Check, profiles *profiles, seed uint64) *soak.Plan {
	p := &plan{
		profiles: profiles, topic: b.Fleet.Client.Topic("deliveries.email"),
		rand: rand.New(rand.NewPCG(seed, 5)), keys: map[string]*delivery.Delivery{},
	}
	out := soak.NewPlan(b, c, seed, batch)
	out.Next = p.next
	return out
}

// next makes a delivery.
func (p *plan) next() (*soak.Planned, stream.Record, error) {
	p.count++
	now := time.Now()
	i, user := p.rand.IntN(profileCount), p.user()
	to := email.Address{Name: "Someone", Local: user, Domain: "mail.example"}
	message := &email.Planned{
		To: to, Subject: fmt.Sprintf("Invoice %d: größer", p.count), Domain: domain,
		Text: fmt.Sprintf("number %d\n%s\n", p.count, strings.Repeat("x", p.rand.IntN(500))),
	}
	if p.rand.IntN(2) == 0 {
		message.HTML = fmt.Sprintf("<p>number <b>%d</b></p>", p.count)
	}
	body, err := message.Message()
	if err != nil {
		return nil, stream.Record{}, err
	}
	d := &delivery.Delivery{
		Tenant: "acme", Notification: "each", NotificationVersion: 1, Action: "notify", Endpoint: profileName(i), Recipient: to.Key(),
		Event: delivery.EventReference{
			Source: "soak", ID: fmt.Sprint(p.count), Type: "usage.charged", Subject: fmt.Sprintf("4479%07d", p.rand.IntN(subjects)), Time: now,
			Topic: "events.ordered",
		},
		ContentType: body.ContentType, Body: body.Body, PlannedAt: now, Revision: p.profiles.revision.Load(),
	}
	d.ID = delivery.NewID(now, d.Tenant, d.Event.Source, d.Event.Subject, d.Event.ID, d.Notification, d.Action, "", d.Endpoint+" "+d.Recipient)
	one := &soak.Planned{ID: d.ID, To: recipient(profileID(i), to.Key()), At: now, Content: content(message.Subject, message.Text, message.HTML, now)}
	switch p.rand.IntN(8) {
	case 0, 1, 2, 3:
		one.Key = d.Endpoint + " " + d.Recipient + " " + d.Event.Subject
		d.Ordered, d.Sequence = true, 1
		if before := p.keys[one.Key]; before != nil {
			d.Sequence, d.Previous = before.Sequence+1, before.ID
		}
		p.keys[one.Key] = &delivery.Delivery{ID: d.ID, Sequence: d.Sequence}
		one.Sequence = d.Sequence
	case 4:
		one.Ends = append(one.Ends, "expired")
		d.ExpiresAt = now.Add(time.Duration(1+p.rand.IntN(10)) * time.Second)
	}
	switch {
	case strings.HasPrefix(user, goneUser):
		one.Ends, one.Unwanted = append(one.Ends, "dead", "cancelled"), true
	case strings.HasPrefix(user, refusedUser), strings.HasPrefix(user, refusedByPolicy):
		one.Ends = append(one.Ends, "dead")
	}
	r, err := d.Record(p.topic)
	return one, r, err
}

// recipient is a recipient of a profile.
func recipient(profile, address string) string { return profile + " " + address }
