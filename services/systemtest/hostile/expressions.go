package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/grpc/codes"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// save creates or changes a notification of the tenant that misbehaves.
func save(ctx context.Context, b *bed, n *configv1.Notification) error {
	_, err := configv1.NewNotificationServiceClient(b.key["config"]).UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: n, AllowMissing: true})
	return err
}

// expressions cost more than any event is worth; they are refused when they are saved.
func expressions() []attempt {
	var all []attempt
	add := func(name, filter string) {
		all = append(all, attempt{"expression: " + name, func(ctx context.Context, b *bed) (string, error) {
			return refused(save(ctx, b, notification("tenants/bad/notifications/dear", filter, "client.*")), codes.InvalidArgument)
		}})
	}
	add("a pattern that repeats by count, 200 times", `subject.matches("`+strings.Repeat("a{0,1000}", 200)+`")`)
	add("a pattern that repeats by count, nested", `subject.matches("((a{0,30}){0,30}){0,30}b")`)
	add("a pattern out of the event", `subject.matches(id)`)
	add("a pattern of 60,000 alternatives", `subject.matches("`+strings.Repeat("a|", 60_000)+`b")`)
	numbers := "[" + strings.TrimSuffix(strings.Repeat("1,", 1000), ",") + "]"
	add("three loops in each other", fmt.Sprintf("%s.all(x, %s.all(y, %s.all(z, x + y + z > 0)))", numbers, numbers, numbers))
	doubled := "subject"
	for range 12 {
		doubled = "(" + doubled + "+" + doubled + ")"
	}
	add("a text that doubles twelve times", doubled+` == "x"`)
	add("ten thousand parentheses", strings.Repeat("(", 10_000)+"true"+strings.Repeat(")", 10_000))
	add("a filter of 1 MB", strings.Repeat("true || ", 125_000)+"true")
	add("a text that is not UTF-8", "subject == \"\\xff\"+b\"\\xff\"")
	templated := func(name, template string) {
		all = append(all, attempt{"template: " + name, func(ctx context.Context, b *bed) (string, error) {
			n := notification("tenants/bad/notifications/dear", "", "client.*")
			n.Actions[0].Parameters = []*configv1.Parameter{{Name: "p", Template: template}}
			return refused(save(ctx, b, n), codes.InvalidArgument)
		}})
	}
	templated("a loop of a billion", "{{range 1000000000}}x{{end}}")
	templated("a template that calls itself", `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`)
	templated("1 MB of template", strings.Repeat("{{.Subject}}", 90_000))
	all = append(all, attempt{"scope: a pattern that repeats by count", func(ctx context.Context, b *bed) (string, error) {
		_, err := configv1.NewClassOfServiceServiceClient(b.key["config"]).UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{
			AllowMissing: true, ClassOfService: &configv1.ClassOfService{
				Name: "tenants/bad/classesOfService/dear", DataSafeguard: &configv1.DataSafeguardOption{
					Limit: &money.Money{CurrencyCode: "EUR", Units: 50}, Scope: `subject.matches("` + strings.Repeat("a{0,1000}", 200) + `")`,
				},
			},
		})
		return refused(err, codes.InvalidArgument)
	}})
	return all
}
