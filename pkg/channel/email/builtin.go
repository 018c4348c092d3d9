package email

import configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"

// RoleAdmin is the role of the users who get what is built in.
const RoleAdmin = "admin"

// endpointHealth notifies the tenant's admins that an endpoint fails, or is suspended.
var endpointHealth = &configv1.Notification{
	Name: "built-in:endpoint-health", Version: 1, Active: true,
	Trigger: &configv1.Trigger{EventTypes: []string{"endpoint.failing", "endpoint.suspended"}},
	Actions: []*configv1.Action{{
		Name: "admins",
		Action: &configv1.Action_Email{Email: &configv1.EmailAction{
			Recipients: &configv1.EmailRecipients{Roles: []string{RoleAdmin}},
			Subject:    `{{.Core.Tenant}}: {{.Endpoint.Name}} {{if eq .Core.EventName "endpoint.suspended"}}is suspended{{else}}fails{{end}}`,
			Text: `{{if eq .Core.EventName "endpoint.suspended"}}Nothing is sent to {{.Endpoint.Name}} any more: it is suspended.
{{else}}Deliveries to {{.Endpoint.Name}} fail: it is at {{.Endpoint.Percent}} % of the way to its suspension.
{{end}}
Reason: {{.Endpoint.Reason | default "not known"}}
Last answer: {{.Endpoint.LastAnswer | default "none"}}
Failing since: {{.Endpoint.FailingSince | datetime | default "not known"}}
Failed attempts: {{.Endpoint.Failures}}
Waiting deliveries: {{.Endpoint.Waiting}}

What waits is sent in order once the endpoint is set to active, up to six days after it was planned:
tollgate endpoint health {{.Endpoint.Name}}
`,
		}},
	}},
}

// notificationHealth notifies the tenant's admins that a notification fails on one event after the other.
var notificationHealth = &configv1.Notification{
	Name: "built-in:notification-health", Version: 1, Active: true,
	Trigger: &configv1.Trigger{EventTypes: []string{"notification.failing"}},
	Actions: []*configv1.Action{{
		Name: "admins",
		Action: &configv1.Action_Email{Email: &configv1.EmailAction{
			Recipients: &configv1.EmailRecipients{Roles: []string{RoleAdmin}},
			Subject:    `{{.Core.Tenant}}: {{.Notification.Name}} fails`,
			Text: `{{.Notification.Name}}, version {{.Notification.Version}}, has failed on {{.Notification.Count}} events or more since {{.Event.Time | datetime}}.

Reason: {{.Notification.Reason}}

It notifies nobody of those events. Each is a decision on the topic triggers.decisions.
`,
		}},
	}},
}
