package rules_test

import (
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/type/money"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// A filter selects one alert of two, and its action becomes the body of a webhook.
func ExampleRule_Render() {
	rule, err := rules.Compile(rules.Notification{
		Tenant: "acme", Code: "nearly-gone", Active: true,
		Trigger: rules.Trigger{EventTypes: []string{"safeguard.alert"}, Filter: "data.threshold.percent == 80"},
		Actions: []rules.Action{{
			Name: "crm", Channel: webhook.Channel, Part: webhook.Action{Endpoint: "tenants/acme/endpoints/crm"},
			Parameters: []rules.Parameter{{Name: "message", Template: "You used {{.Option.Spent}} of {{.Option.Limit}} {{.Option.Currency}}."}},
		}},
	})
	if err != nil {
		panic(err)
	}
	index := rules.NewIndex([]*rules.Rule{rule})
	target := &webhook.Endpoint{Name: "tenants/acme/endpoints/crm", Profile: webhook.Parameters}

	for _, percent := range []int32{50, 80} {
		e := &event.Event{
			ID: fmt.Sprintf("alert-%d", percent), Source: "tollgate/safeguard", Type: "safeguard.alert",
			Tenant: "acme", Subject: "447700900123", Time: time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC),
			Data: &eventv1.Safeguard{
				Option:    eventv1.Safeguard_OPTION_DATA,
				Threshold: &eventv1.Threshold{Percent: percent},
				Spent:     &money.Money{CurrencyCode: "EUR", Units: int64(percent) / 2, Nanos: 50_000_000},
				Limit:     &money.Money{CurrencyCode: "EUR", Units: 50},
			},
		}
		matches, _, _ := index.Match(e)
		fmt.Printf("%d %%: %d notifications\n", percent, len(matches))
		for _, m := range matches {
			action, on := m.Rule.Actions[0], &rules.Occasion{Event: e, Now: e.Time}
			message, err := m.Rule.Render(action, on, target.Planning(), m.Rule.Recipients(action, on, action.Target).To[0], channel.Position{})
			if err != nil {
				panic(err)
			}
			fmt.Printf("%s: %s\n", message.ContentType, message.Body)
		}
	}
	// Output:
	// 50 %: 0 notifications
	// 80 %: 1 notifications
	// application/json; charset=utf-8: {"message":"You used 40.05 of 50.00 EUR."}
}
