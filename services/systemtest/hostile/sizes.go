package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

var tooMuch = []codes.Code{codes.InvalidArgument, codes.ResourceExhausted}

// sizes are fields and lists without an end.
func sizes() []attempt {
	var all []attempt
	notify := func(name string, change func(n *configv1.Notification)) {
		all = append(all, attempt{"size: " + name, func(ctx context.Context, b *bed) (string, error) {
			n := notification("tenants/bad/notifications/large", "", "client.*")
			change(n)
			return refused(save(ctx, b, n), tooMuch...)
		}})
	}
	notify("an action's name of 3.5 MB", func(n *configv1.Notification) { n.Actions[0].Name = strings.Repeat("a", 3_500_000) })
	notify("a description of 7.5 MB", func(n *configv1.Notification) { n.Description = strings.Repeat("d", 7_500_000) })
	notify("a code of 100 kB", func(n *configv1.Notification) { n.Name = "tenants/bad/notifications/" + strings.Repeat("c", 100_000) })
	notify("100,000 types", func(n *configv1.Notification) {
		n.Trigger.EventTypes = strings.Split(strings.TrimSuffix(strings.Repeat("client.created,", 100_000), ","), ",")
	})
	notify("100,000 empty actions", func(n *configv1.Notification) {
		n.Actions = nil
		for range 100_000 {
			n.Actions = append(n.Actions, &configv1.Action{})
		}
	})
	notify("21 actions", func(n *configv1.Notification) {
		for i := range 20 {
			n.Actions = append(n.Actions, &configv1.Action{Name: fmt.Sprintf("more-%d", i), Action: n.Actions[0].Action})
		}
	})
	endpoint := func(name string, change func(e *configv1.Endpoint)) {
		all = append(all, attempt{"size: " + name, func(ctx context.Context, b *bed) (string, error) {
			e := &configv1.Endpoint{
				Name: "tenants/bad/endpoints/large", Url: b.receiver.URL("/bad"), Secrets: []string{b.receiver.Secret},
				Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE,
			}
			change(e)
			_, err := configv1.NewEndpointServiceClient(b.key["config"]).UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{Endpoint: e, AllowMissing: true})
			return refused(err, tooMuch...)
		}})
	}
	endpoint("a URL of 3 MB", func(e *configv1.Endpoint) { e.Url += "/" + strings.Repeat("u", 3_000_000) })
	endpoint("10,000 headers", func(e *configv1.Endpoint) {
		for i := range 10_000 {
			e.Headers = append(e.Headers, &configv1.CustomHeader{Name: fmt.Sprintf("x-%d", i), Value: "v"})
		}
	})
	endpoint("a header of 1 MB", func(e *configv1.Endpoint) {
		e.Headers = []*configv1.CustomHeader{{Name: "x-large", Value: strings.Repeat("v", 1<<20)}}
	})
	endpoint("certificates of 4 MB", func(e *configv1.Endpoint) { e.CaCertificates = strings.Repeat(b64line, 60_000) })
	all = append(all,
		attempt{"size: 100,000 alert thresholds", func(ctx context.Context, b *bed) (string, error) {
			o := &configv1.DataSafeguardOption{Limit: &money.Money{CurrencyCode: "EUR", Units: 50}}
			for range 100_000 {
				o.AlertThresholds = append(o.AlertThresholds, &configv1.AlertThreshold{Threshold: &configv1.AlertThreshold_Percent{Percent: 80}})
			}
			_, err := configv1.NewClassOfServiceServiceClient(b.key["config"]).UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{
				AllowMissing: true, ClassOfService: &configv1.ClassOfService{Name: "tenants/bad/classesOfService/large", DataSafeguard: o},
			})
			return refused(err, tooMuch...)
		}},
		attempt{"size: 100,000 networks of a tenant", func(ctx context.Context, b *bed) (string, error) {
			_, err := configv1.NewTenantServiceClient(b.key["config"]).UpdateTenant(ctx, &configv1.UpdateTenantRequest{Tenant: &configv1.Tenant{
				Name: "tenants/bad", Outbound: &configv1.OutboundPolicy{Networks: strings.Fields(strings.Repeat("127.0.0.0/8 ", 100_000))},
			}})
			return refused(err, tooMuch...)
		}},
		attempt{"size: a page token of 1 MB", func(ctx context.Context, b *bed) (string, error) {
			_, err := configv1.NewEndpointServiceClient(b.key["config"]).ListEndpoints(ctx, &configv1.ListEndpointsRequest{
				Parent: "tenants/bad", PageToken: strings.Repeat("p", 1<<20),
			})
			return refused(err, tooMuch...)
		}},
		attempt{"size: a mask of 100,000 paths", func(ctx context.Context, b *bed) (string, error) {
			_, err := configv1.NewTenantServiceClient(b.key["config"]).UpdateTenant(ctx, &configv1.UpdateTenantRequest{
				Tenant: &configv1.Tenant{Name: "tenants/bad"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: strings.Fields(strings.Repeat("outbound ", 100_000))},
			})
			return refused(err, tooMuch...)
		}},
		attempt{"size: a subscriber's name of 1 MB", func(ctx context.Context, b *bed) (string, error) {
			_, err := optionsv1.NewEnforcementServiceClient(b.key["safeguard"]).Authorize(ctx, &optionsv1.AuthorizeRequest{
				Name: "tenants/bad/subscribers/" + strings.Repeat("4", 1<<20),
			})
			return refused(err, tooMuch...)
		}},
		attempt{"size: a transaction reference of 1 MB", func(ctx context.Context, b *bed) (string, error) {
			_, err := optionsv1.NewEnforcementServiceClient(b.key["safeguard"]).Charge(ctx, &optionsv1.ChargeRequest{
				Name: "tenants/bad/subscribers/447700900123", TransactionReference: strings.Repeat("r", 1<<20), Amount: &money.Money{CurrencyCode: "EUR", Units: 1},
			})
			return refused(err, tooMuch...)
		}},
		attempt{"size: a tenant that fills its share, and the neighbour's change", fills},
	)
	return all
}

const b64line = "MIIBszCCAVmgAwIBAgIUTollgateProveThisIsNoCertificateAtAllJustText=\n"

// fills saves the largest notifications that are taken until one is refused; then another tenant's change is in force
// within the goal.
func fills(ctx context.Context, b *bed) (string, error) {
	saved := 0
	for ; saved < 2000; saved++ {
		n := notification(fmt.Sprintf("tenants/bad/notifications/fill-%04d", saved), "", "client.archived")
		for i := range 18 {
			n.Actions[0].Parameters = append(n.Actions[0].Parameters, &configv1.Parameter{Name: fmt.Sprintf("p%d", i), Template: strings.Repeat("t", 2000)})
		}
		if err := save(ctx, b, n); err != nil {
			if _, err := refused(err, codes.InvalidArgument, codes.ResourceExhausted, codes.FailedPrecondition); err != nil {
				return "", err
			}
			break
		}
	}
	before := time.Now()
	if err := save(ctx, b, notification("tenants/good/notifications/after", "", "client.archived")); err != nil {
		return "", fmt.Errorf("the neighbour's change after %d of the tenant's: %w", saved, err)
	}
	took := time.Since(before)
	service := configv1.NewNotificationServiceClient(b.key["config"])
	for i := range saved {
		if _, err := service.DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: fmt.Sprintf("tenants/bad/notifications/fill-%04d", i)}); err != nil {
			return "", err
		}
	}
	if took > goal {
		return "", fmt.Errorf("the neighbour's change took %s after %d of the tenant's", took, saved)
	}
	return fmt.Sprintf("%d saved, the neighbour's change took %s", saved, took.Round(time.Millisecond)), nil
}
