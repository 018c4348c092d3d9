package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/pause"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// classes of service: one with everything, one without payments that blocks while overspend is inactive, one in another
// currency.
var classes = []string{"roamer", "home", "island"}

func currency(class string) string {
	if class == "island" {
		return "GBP"
	}
	return "EUR"
}

// midnight is a zone in which a day begins while the run goes on, so that periods end in it, and the day of the month that
// begins then. Where there is none no period ends.
func midnight(now time.Time, length time.Duration) (zone string, day int32) {
	zones := []string{"Asia/Kathmandu", "Pacific/Chatham", "Australia/Eucla", "Asia/Kolkata", "Asia/Kabul", "Asia/Tehran", "America/St_Johns", "Pacific/Marquesas", "Australia/Darwin", "Asia/Yangon"}
	for offset := -12; offset <= 14; offset++ {
		zones = append(zones, fmt.Sprintf("Etc/GMT%+d", -offset))
	}
	for _, name := range zones {
		z, err := time.LoadLocation(name)
		if err != nil {
			continue
		}
		y, m, d := now.In(z).Date()
		next := time.Date(y, m, d+1, 0, 0, 0, 0, z)
		if wait := next.Sub(now); wait > length/4 && wait < length*3/4 && next.Day() <= 28 {
			return name, int32(next.Day())
		}
	}
	if day = 1; now.Day() >= 24 || now.Day() < 8 {
		day = 15
	}
	return "UTC", day
}

func percents(all ...int32) (alerts []*configv1.AlertThreshold) {
	for _, p := range all {
		alerts = append(alerts, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: p}})
	}
	return alerts
}

func resources(now time.Time, length time.Duration) []proto.Message {
	zone, day := midnight(now, length)
	fleet.Report("periods begin at midnight of day %d in %s", day, zone)
	all := []proto.Message{&configv1.Tenant{Name: "tenants/acme", Subscribers: &configv1.SubscriberPolicy{UnknownGrace: durationpb.New(5 * time.Second)}}}
	for _, name := range classes {
		c := currency(name)
		class := &configv1.ClassOfService{
			Name: "tenants/acme/classesOfService/" + name,
			DataSafeguard: &configv1.DataSafeguardOption{
				Limit: model.Money(50*model.Unit, c), AlertThresholds: percents(50, 80, 100), SecondNotice: model.Money(100*model.Unit, c), TimeZone: zone, RenewalDay: day,
			},
			OverspendSafeguard: &configv1.OverspendSafeguardOption{CurrencyCode: c, TimeZone: zone, RenewalDay: day},
			PaymentSafeguard: &configv1.PaymentSafeguardOption{
				Limit: model.Money(60*model.Unit, c), PerPaymentLimit: model.Money(15*model.Unit, c), TimeZone: zone, RenewalDay: day,
			},
		}
		switch name {
		case "home":
			class.PaymentSafeguard = nil
			class.OverspendSafeguard.InactivePolicy = configv1.InactivePolicy_INACTIVE_POLICY_BLOCK
		case "island":
			class.OverspendSafeguard.DefaultLimit, class.OverspendSafeguard.DefaultState = model.Money(30*model.Unit, c), eventv1.Safeguard_STATE_ACTIVE
		}
		all = append(all, class)
	}
	return all
}

// catalog changes limits now and then.
type catalog struct {
	classes configv1.ClassOfServiceServiceClient
	made    []*configv1.ClassOfService
	// keep reads a revision while it can be read, 0 the newest, and returns its position.
	keep func(ctx context.Context, revision int64) (position, error)

	// mu is held while the configuration is changed or set back.
	mu      sync.Mutex
	changes int
	given   map[position]bool
	highest int64
	// twice is a revision that was given a second time.
	twice []string
}

// position is a revision of one history.
type position struct {
	history  uint64
	revision int64
}

// newCatalog begins behind the resources that were made, the last of them as a revision.
func newCatalog(ctx context.Context, client configv1.ClassOfServiceServiceClient, made []proto.Message, last int64, keep func(context.Context, int64) (position, error)) (*catalog, error) {
	c := &catalog{classes: client, keep: keep, given: map[position]bool{}}
	for _, m := range made {
		if class, ok := m.(*configv1.ClassOfService); ok {
			c.made = append(c.made, class)
		}
	}
	for revision := int64(1); revision <= last; revision++ {
		if err := c.note(ctx, revision); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *catalog) run(ctx context.Context, stop context.Context) error {
	for pause.For(stop, 12*time.Second) {
		c.mu.Lock()
		err := c.change(ctx)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// change changes one class. Its caller holds mu.
func (c *catalog) change(ctx context.Context) error {
	limits := []int64{40, 60, 0, 50}
	i := c.changes % len(c.made)
	class := proto.CloneOf(c.made[i])
	c.changes++
	class.DataSafeguard.Limit = model.Money(limits[c.changes%len(limits)]*model.Unit, class.GetDataSafeguard().GetLimit().GetCurrencyCode())
	class.DataSafeguard.AlertThresholds = percents(int32(60 + c.changes%40))
	changed, err := c.classes.UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{
		ClassOfService: class, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"data_safeguard"}},
	}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("change a class of service: %w", err)
	}
	return c.note(ctx, changed.GetMetadata().GetRevision())
}

// note keeps a new revision, and notices one that was given before.
func (c *catalog) note(ctx context.Context, revision int64) error {
	at, err := c.keep(ctx, revision)
	if err != nil {
		return err
	}
	if c.given[at] {
		c.twice = append(c.twice, fmt.Sprintf("revision %d of history %x was given twice", at.revision, at.history))
	}
	c.given[at] = true
	c.highest = max(c.highest, at.revision)
	return nil
}
