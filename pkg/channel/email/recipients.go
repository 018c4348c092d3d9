package email

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/template"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var (
	errEmpty = errors.New("must not be empty")
	errRole  = errors.New(`must be 1 to 63 lower-case letters, digits, "_" and "-"`)
)

// to is a recipient: the address, and how it reads.
type to struct {
	address Address
	reader  template.Reader
}

// Recipients implements channel.Action: users by role, then addresses, then contacts. Of addresses that differ by case
// alone the first stays, with its language and zone.
func (a Action) Recipients(o channel.Occasion, target string) channel.Recipients {
	var out channel.Recipients
	known := map[string]bool{}
	invalid := func(where string, err error) {
		if out.Invalid++; out.Why == nil {
			out.Why = fmt.Errorf("%s %w", where, err)
		}
	}
	add := func(address Address, r template.Reader, zone *time.Location) {
		key := address.Key()
		if known[key] {
			return
		}
		known[key] = true
		out.To = append(out.To, channel.Recipient{ID: key, Address: key, OrderingKey: orderingKey(target, key), Zone: zone, Of: to{address, r}})
	}
	local := o.Reader()
	seen := map[string]bool{} // users
	for _, role := range a.Roles {
		for _, u := range o.Users(role) {
			if seen[u.Name] {
				continue
			}
			seen[u.Name] = true
			address, err := ParseAddress(u.Address)
			if err != nil {
				invalid("the address of "+u.Name, err)
				continue
			}
			address.Name = shownName(u.DisplayName)
			var zone *time.Location
			if u.OwnZone {
				zone = u.Zone
			}
			add(address, template.Reader{Language: u.Language, Zone: u.Zone, Days: local.Days}, zone)
		}
	}
	for i, text := range a.Addresses {
		address, err := ParseAddress(text)
		if err != nil {
			invalid(at("recipients.addresses", i), err)
			continue
		}
		// The language of an event is that of whom it is about.
		add(address, template.Reader{Zone: local.Zone, Days: local.Days}, nil)
	}
	for i := range a.Contacts {
		text, err := o.Text(textContacts+i, channel.Contact, local)
		if err == nil && strings.TrimSpace(text) == "" {
			continue
		}
		var address Address
		if err == nil {
			address, err = ParseAddress(text)
		}
		if err != nil {
			invalid(at("recipients.contacts", i), err)
			continue
		}
		if address.Name == "" {
			address.Name = contactName(o.Event().Data)
		}
		add(address, local, nil)
	}
	return out
}

// orderingKey is short, since a subject's record holds many.
func orderingKey(target, key string) string {
	sum := sha256.Sum256([]byte(target + "\x00" + key))
	return strings.ToLower(base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
}

// contactName is the name of the contact that an event carries; empty where it carries none.
func contactName(data proto.Message) string {
	m := data.ProtoReflect()
	field := m.Descriptor().Fields().ByName("contact")
	if field == nil || field.Message() == nil || field.IsList() || !m.Has(field) {
		return ""
	}
	contact, _ := m.Get(field).Message().Interface().(*eventv1.Contact)
	return shownName(contact.GetName())
}

// readableKey is the key of the text that follows from HTML, among what the deliveries of an event share.
type readableKey struct{ html string }

// Render implements channel.Action.
func (a Action) Render(o channel.Occasion, target channel.Planning, r channel.Recipient, _ channel.Position) (channel.Message, error) {
	form, ok := target.Form.(form)
	who, known := r.Of.(to)
	if !ok || !known {
		return channel.Message{}, errors.New("render an e-mail: its profile or its recipient is not known")
	}
	var err error
	text := func(i int, written string) string {
		if written == "" || err != nil {
			return ""
		}
		var rendered string
		rendered, err = o.Text(i, target.Audience, who.reader)
		return rendered
	}
	p := &Planned{
		To: who.address, Subject: oneLine(text(textSubject, a.Subject)),
		Text: text(textBody, a.Text), HTML: text(textHTML, a.HTML), Domain: form.domain,
	}
	if replyTo, bad := ParseAddress(text(textReplyTo, a.ReplyTo)); bad == nil {
		p.ReplyTo = &replyTo
	}
	if !o.LegalNotice() {
		p.ListUnsubscribe, p.OneClick = text(textUnsubscribe, a.ListUnsubscribe), a.OneClick
	}
	if err != nil {
		return channel.Message{}, err
	}
	if strings.TrimSpace(a.Text) == "" {
		p.Text, _ = o.Once(readableKey{p.HTML}, func() any { return template.Readable(p.HTML) }).(string)
	}
	return p.Message()
}

// form is what planning reads of a profile.
type form struct {
	// domain of Message-IDs: that of the profile's From.
	domain string
}
