package webhook

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Channel describes webhooks to the rest of the product.
var Channel = &channel.Channel{
	Name:      "webhook",
	Topic:     "deliveries.webhook",
	Target:    endpoints,
	NoContact: "is for e-mail and SMS, never for a webhook",
	Decode: func(field proto.Message) channel.Action {
		return Action{Endpoint: field.(*configv1.WebhookAction).GetEndpoint()}
	},
}

// collection is the part of an endpoint's name before its id.
const collection = "endpoints"

// endpoints are the targets of webhooks.
var endpoints = &channel.Kind{
	Name: "Endpoint", Short: "ep", Field: "endpoint", Label: "endpoint", One: "an endpoint", Collection: collection, Example: "crm",
	InUse:    "ENDPOINT_IN_USE",
	New:      func() channel.Resource { return &configv1.Endpoint{} },
	Validate: validate, ByTenant: []string{"url", "auth.oauth2.token_url"},
	Replans: replans,
	Secrets: secrets, Mask: mask, Masked: masked, Unmask: unmask, Credentials: credentials, Assign: assign, Textless: textless,
	Planned: planned,
	Decode: func(r channel.Resource) (channel.Target, []error) {
		e, faults := Decode(r.(*configv1.Endpoint))
		return e, faults
	},
}

// Action is an action that sends a webhook.
type Action struct {
	// Endpoint is a resource name.
	Endpoint string
}

// Target implements channel.Action.
func (a Action) Target() string { return a.Endpoint }

// Validate implements channel.Action.
func (a Action) Validate(tenant string, f *fault.Violations) {
	endpoints.ValidateTarget(a.Endpoint, tenant, f)
}

// Texts implements channel.Action: parameters are all.
func (a Action) Texts() []channel.Text { return nil }

// Recipients implements channel.Action: the endpoint is the only recipient.
func (a Action) Recipients(channel.Occasion, string) channel.Recipients {
	id := a.Endpoint[strings.LastIndexByte(a.Endpoint, '/')+1:]
	return channel.Recipients{To: []channel.Recipient{{ID: a.Endpoint, OrderingKey: id}}}
}

// Render implements channel.Action.
func (a Action) Render(o channel.Occasion, to channel.Planning, _ channel.Recipient, at channel.Position) (channel.Message, error) {
	form, ok := to.Form.(Profile)
	if !ok || profiles[form].render == nil {
		return channel.Message{}, fmt.Errorf("render for %s: its profile is not known", a.Endpoint)
	}
	return profiles[form].render(rendering{o, o.Event(), to.Audience, at})
}
