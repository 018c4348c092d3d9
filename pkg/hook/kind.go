package hook

import (
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Collection is the part of a hook's name before its id.
const Collection = "hooks"

// endpoints is the kind whose rules the address of a handler follows.
var endpoints = webhook.Channel.Target

// Kind is that of hooks.
var Kind = &channel.Kind{
	Name: "Hook", Short: "hk", Field: "hook", Label: "hook", One: "a hook", Collection: Collection, Example: "check-credit",
	New:        func() channel.Resource { return &configv1.Hook{} },
	EventTypes: func(r channel.Resource) []string { return r.(*configv1.Hook).GetEventTypes() }, ValidateTypes: validateTypes, Broken: "HOOK_BROKEN",
	Validate: validate, ByTenant: []string{"http.url", "http.auth.oauth2.token_url"},
	// A script runs on the operator's machines.
	OperatorOnly: func(r channel.Resource) string {
		if r.(*configv1.Hook).GetScript() != nil {
			return "script"
		}
		return ""
	},
	// Nothing that is planned depends on hooks.
	Replans: func(_, _ channel.Resource) bool { return false },
	Secrets: func(r channel.Resource) (all []channel.Secret) {
		withEndpoint(r, func(e *configv1.Endpoint) { all = endpoints.Secrets(e) })
		for i := range all {
			all[i].Field = httpField + "." + all[i].Field
		}
		return all
	},
	Mask: func(r channel.Resource) { withEndpoint(r, func(e *configv1.Endpoint) { endpoints.Mask(e) }) },
	Masked: func(r channel.Resource) (masked bool) {
		withEndpoint(r, func(e *configv1.Endpoint) { masked = endpoints.Masked(e) })
		return masked
	},
	Unmask: func(r, stored channel.Resource) {
		withEndpoint(stored, func(known *configv1.Endpoint) {
			withEndpoint(r, func(e *configv1.Endpoint) { endpoints.Unmask(e, known) })
		})
	},
	Credentials: func(r channel.Resource) (all []channel.Credential) {
		withEndpoint(r, func(e *configv1.Endpoint) { all = endpoints.Credentials(e) })
		for i := range all {
			all[i].Field = httpField + "." + all[i].Field
		}
		return all
	},
	Assign:   func(_, _ channel.Resource, _ func(string) bool) {},
	Textless: func(channel.Resource) string { return "" },
	Planned: func(r channel.Resource) channel.Resource {
		return &configv1.Hook{Name: r.GetName()}
	},
	Decode: func(r channel.Resource) (channel.Target, []error) {
		h, faults := Decode(r.(*configv1.Hook))
		return h, faults
	},
}

const httpField = "http"

// withEndpoint calls do with an HTTP handler as an endpoint that shares its parts, and takes over what do changes. It does
// nothing where the hook has none.
func withEndpoint(r channel.Resource, do func(*configv1.Endpoint)) {
	h := r.(*configv1.Hook).GetHttp()
	if h == nil {
		return
	}
	e := endpointOf(r.GetName(), h)
	do(e)
	h.Secrets, h.Headers, h.Auth = e.Secrets, e.Headers, e.Auth
}

func endpointOf(name string, h *configv1.HttpHandler) *configv1.Endpoint {
	return &configv1.Endpoint{
		Name: name, Url: h.GetUrl(), Secrets: h.GetSecrets(), CaCertificates: h.GetCaCertificates(),
		Headers: h.GetHeaders(), Auth: h.GetAuth(), Profile: configv1.PayloadProfile_PAYLOAD_PROFILE_TOLLGATE,
	}
}

// unsigned is what an endpoint without secrets is validated with: handlers need none.
func unsigned(e *configv1.Endpoint) *configv1.Endpoint {
	if len(e.GetSecrets()) > 0 {
		return e
	}
	e, _ = proto.Clone(e).(*configv1.Endpoint)
	e.Secrets = []string{webhook.NewSecret(make([]byte, 32))}
	return e
}
