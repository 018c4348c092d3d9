package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// domain is that of the sender's addresses.
const domain = "operator.example"

func profileName(i int) string { return fmt.Sprintf("tenants/acme/smtpProfiles/p%d", i) }

// installation is a fleet with config running, and n profiles at the mail server.
func (b *bed) installation(ctx context.Context, n int, change func(i int, p *configv1.SmtpProfile)) (f *fleet.Fleet, revision int64, err error) {
	if f, err = b.Installation(ctx); err != nil {
		return nil, 0, err
	}
	policy := &configv1.OutboundPolicy{Ports: []uint32{uint32(b.receiver.Mail), uint32(b.receiver.Hanging)}, Networks: []string{"127.0.0.0/8"}}
	if _, err = f.Configure(ctx, &configv1.Tenant{Name: "tenants/acme", Outbound: policy}); err != nil {
		return nil, 0, errors.Join(err, bench.Close(ctx, f))
	}
	for i := range n {
		p := &configv1.SmtpProfile{
			Name: profileName(i), Host: "127.0.0.1", Port: int32(b.receiver.Mail), Tls: configv1.SmtpTls_SMTP_TLS_NONE,
			FromAddress: "billing@" + domain, FromName: "Operator", Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
		}
		change(i, p)
		if revision, err = f.Configure(ctx, p); err != nil {
			return nil, 0, errors.Join(err, bench.Close(ctx, f))
		}
	}
	return f, revision, nil
}

// planner makes deliveries without order, as e-mail is unless a notification asks for one.
type planner struct {
	fleet    *fleet.Fleet
	revision int64
	n        int
	// user begins the address of every recipient.
	user string
}

// plannedAt begins the line of a text that has its time.
const plannedAt = "planned: "

// body makes a text one of some 600 bytes.
var body = strings.Repeat("Your roaming data is used up for this month.\n", 12)

// message is what is planned: 600 bytes of text, and none of HTML.
func message(user string, n int, now time.Time) *email.Planned {
	return &email.Planned{
		To:      email.Address{Name: "Jane Doe", Local: user + strconv.Itoa(n%1000), Domain: "mail.example"},
		Subject: "Your data limit of 50.00 EUR is reached", Domain: domain,
		Text: plannedAt + strconv.FormatInt(now.UnixNano(), 10) + "\n" + body,
	}
}

// next is a delivery of a profile.
func (p *planner) next(profile int) (stream.Record, error) {
	p.n++
	now := time.Now()
	planned := message(p.user, p.n, now)
	content, err := planned.Message()
	if err != nil {
		return stream.Record{}, err
	}
	d := &delivery.Delivery{
		Tenant: "acme", Notification: "each", NotificationVersion: 1, Action: "notify", Endpoint: profileName(profile), Recipient: planned.To.Key(),
		Event: delivery.EventReference{
			Source: "bench", ID: strconv.Itoa(p.n), Type: "safeguard.reached", Subject: fmt.Sprintf("4479%08d", p.n), Time: now, Topic: "safeguards",
		},
		ContentType: content.ContentType, Body: content.Body, PlannedAt: now, Revision: p.revision,
	}
	d.ID = delivery.NewID(now, d.Tenant, d.Event.Source, d.Event.Subject, d.Event.ID, d.Notification, d.Action, "", d.Endpoint+" "+d.Recipient)
	return d.Record(p.fleet.Client.Topic("deliveries.email"))
}

// plan puts n deliveries on the topic, for profiles in turn.
func (p *planner) plan(ctx context.Context, n, profiles int) error {
	return bench.Plan(ctx, p.fleet.Client, n, func(i int) (stream.Record, error) { return p.next(i % profiles) })
}
