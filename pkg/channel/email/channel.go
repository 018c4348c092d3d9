package email

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Channel describes e-mail to the rest of the product.
var Channel = &channel.Channel{
	Name:      "email",
	Topic:     "deliveries.email",
	Target:    profiles,
	Unordered: true,
	DefaultTarget: func(t *configv1.Tenant) string {
		if t.GetDefaultSmtpProfile() == "" {
			return ""
		}
		return t.GetName() + "/" + collection + "/" + t.GetDefaultSmtpProfile()
	},
	BuiltIn: []*configv1.Notification{endpointHealth, notificationHealth},
	Decode:  func(field proto.Message) channel.Action { return decodeAction(field.(*configv1.EmailAction)) },
}

// Action is an action that sends e-mail, one for each recipient.
type Action struct {
	// Profile is a resource name; empty for the tenant's default.
	Profile string
	// Roles are of users; Contacts are templates of one address each.
	Roles, Addresses, Contacts []string
	// Templates; all but Subject and one of Text and HTML may be empty.
	Subject, Text, HTML, ReplyTo, ListUnsubscribe string
	// OneClick: the URL of ListUnsubscribe unsubscribes on a POST (RFC 8058).
	OneClick bool
}

// The numbers of an action's texts; those of contacts follow.
const (
	textSubject = iota
	textBody
	textHTML
	textReplyTo
	textUnsubscribe
	textContacts
)

// Bounds of templates, in bytes; those of the proto file.
const (
	maxSubjectTemplate     = 4 << 10
	maxTextTemplate        = 64 << 10
	maxHTMLTemplate        = 128 << 10
	maxAddressTemplate     = 1 << 10
	maxUnsubscribeTemplate = 2 << 10
)

func decodeAction(m *configv1.EmailAction) Action {
	r := m.GetRecipients()
	return Action{
		Profile: m.GetSmtpProfile(), Roles: r.GetRoles(), Addresses: r.GetAddresses(), Contacts: r.GetContacts(),
		Subject: m.GetSubject(), Text: m.GetText(), HTML: m.GetHtml(), ReplyTo: m.GetReplyTo(),
		ListUnsubscribe: m.GetListUnsubscribe(), OneClick: m.GetListUnsubscribePost(),
	}
}

// Target implements channel.Action.
func (a Action) Target() string { return a.Profile }

// Texts implements channel.Action.
func (a Action) Texts() []channel.Text {
	texts := []channel.Text{
		textSubject:     {Field: "subject", Template: a.Subject, Most: maxSubjectTemplate},
		textBody:        {Field: "text", Template: a.Text, Most: maxTextTemplate},
		textHTML:        {Field: "html", Template: a.HTML, Escape: template.HTML, Most: maxHTMLTemplate},
		textReplyTo:     {Field: "reply_to", Template: a.ReplyTo, Most: maxAddressTemplate},
		textUnsubscribe: {Field: "list_unsubscribe", Template: a.ListUnsubscribe, Escape: template.URL, Most: maxUnsubscribeTemplate},
	}
	for i, c := range a.Contacts {
		texts = append(texts, channel.Text{Field: at("recipients.contacts", i), Template: c, Most: maxAddressTemplate})
	}
	return texts
}

// Validate implements channel.Action.
func (a Action) Validate(tenant string, f *fault.Violations) {
	if a.Profile != "" {
		profiles.ValidateTarget(a.Profile, tenant, f)
	}
	if len(a.Roles)+len(a.Addresses)+len(a.Contacts) == 0 {
		f.Add("recipients", "must have a role, an address or a contact")
	}
	unique(f, "recipients.roles", a.Roles, func(role string) (string, error) { return role, checkRole(role) })
	unique(f, "recipients.addresses", a.Addresses, func(text string) (string, error) {
		address, err := ParseAddress(text)
		return address.Key(), err
	})
	unique(f, "recipients.contacts", a.Contacts, func(text string) (string, error) {
		if strings.TrimSpace(text) == "" {
			return "", errEmpty
		}
		return text, constantAddress(text)
	})
	if strings.TrimSpace(a.Subject) == "" {
		f.Add("subject", "is required")
	}
	if strings.TrimSpace(a.Text) == "" && strings.TrimSpace(a.HTML) == "" {
		f.Add("text", "or html is required: text follows from html where html alone is given")
	}
	if a.ReplyTo != "" {
		f.AddErr("reply_to", constantAddress(a.ReplyTo))
	}
	secure := strings.HasPrefix(a.ListUnsubscribe, "https://")
	if a.ListUnsubscribe != "" && !secure && !strings.HasPrefix(a.ListUnsubscribe, "mailto:") {
		f.Add("list_unsubscribe", `must begin with "https://" or "mailto:"`)
	}
	if a.OneClick && !secure {
		f.Add("list_unsubscribe_post", "must be with a list_unsubscribe that is a URI of https")
	}
}

// unique adds what is wrong with each element of a list, and those that are there twice.
func unique(f *fault.Violations, field string, list []string, check func(string) (key string, err error)) {
	seen := map[string]bool{}
	for i, text := range list {
		key, err := check(text)
		switch {
		case err != nil:
			f.Add(at(field, i), "%v", err)
		case seen[key]:
			f.Add(at(field, i), "is there twice")
		}
		seen[key] = true
	}
}

// constantAddress is why a template without tokens is no address.
func constantAddress(text string) error {
	if strings.Contains(text, "{{") {
		return nil
	}
	_, err := ParseAddress(text)
	return err
}

// checkRole is why a text is no role of a user.
func checkRole(role string) error {
	if role == "" || len(role) > maxRole || strings.Trim(role, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
		return errRole
	}
	return nil
}

const maxRole = 63

// at is the path of an element of a list.
func at(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }
