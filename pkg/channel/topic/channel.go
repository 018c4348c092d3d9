package topic

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Channel describes topics to the rest of the product.
var Channel = &channel.Channel{
	Name:      "topic",
	NoContact: "is for e-mail and SMS, never for a topic",
	Decode: func(field proto.Message) channel.Action {
		return &Action{written: field.(*configv1.TopicAction)}
	},
}

// Action is an action that publishes a record.
type Action struct{ written *configv1.TopicAction }

var _ channel.Published = (*Action)(nil)

// Bounds of templates and headers, in bytes; those of the proto file.
const (
	maxKey     = 1 << 10
	maxValue   = 64 << 10
	maxHeader  = 1 << 10
	maxHeaders = 20
	maxName    = 100
	// maxRendered bounds a key and each header once it is rendered.
	maxRendered = 4 << 10
	typeJSON    = "application/json"
)

// The numbers of an action's texts; those of headers follow.
const (
	textKey = iota
	textValue
	textHeaders
)

// Headers that stand at every record.
const (
	HeaderContentType = "content-type"
	// HeaderID is the delivery's id: the same for an event that is worked again.
	HeaderID           = ownHeaders + "id"
	HeaderNotification = ownHeaders + "notification"
	// HeaderSequence and HeaderPrevious are the place among the records of an ordered action: of one topic of events and
	// subject.
	HeaderSequence = ownHeaders + "sequence"
	HeaderPrevious = ownHeaders + "previous"
	HeaderTrace    = "traceparent"
	ownHeaders     = "tollgate-"
)

// Topic implements channel.Published.
func (a *Action) Topic() string { return a.written.GetTopic() }

// Target implements channel.Action: no resource, but a name of the same form.
func (a *Action) Target() string { return "topics/" + a.written.GetTopic() }

// Planning implements channel.Published.
func (a *Action) Planning() channel.Planning {
	p := channel.Planning{Texts: a.written.GetValue() == ""}
	if a.written.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE {
		p.Audience = channel.Personal
	}
	return p
}

// isJSON reports that the value is JSON by its type.
func (a *Action) isJSON() bool {
	media, _, err := mime.ParseMediaType(a.contentType())
	return err == nil && (media == typeJSON || strings.HasSuffix(media, "+json"))
}

func (a *Action) contentType() string {
	if t := a.written.GetContentType(); t != "" {
		return t
	}
	return typeJSON
}

// Texts implements channel.Action.
func (a *Action) Texts() []channel.Text {
	value := template.Plain
	if a.isJSON() {
		value = template.JSON
	}
	texts := []channel.Text{
		textKey:   {Field: "key", Template: a.written.GetKey(), Most: maxKey},
		textValue: {Field: "value", Template: a.written.GetValue(), Escape: value, Most: maxValue},
	}
	for i, h := range a.written.GetHeaders() {
		texts = append(texts, channel.Text{Field: "headers[" + strconv.Itoa(i) + "].template", Template: h.GetTemplate(), Most: maxHeader})
	}
	return texts
}

// Validate implements channel.Action. Whether the tenant may publish there, and whether the topic exists, is not known here.
func (a *Action) Validate(_ string, f *fault.Violations) {
	if err := channel.CheckTopic(a.written.GetTopic()); err != nil {
		f.AddErr("topic", err)
	}
	if a.written.GetContentType() != "" {
		if a.written.GetValue() == "" {
			f.Add("content_type", "must be with a value: without one the record is a CloudEvent")
		}
		if media, _, err := mime.ParseMediaType(a.written.GetContentType()); err != nil || !strings.Contains(media, "/") || !printable(a.written.GetContentType()) {
			f.Add("content_type", "must be a media type, such as application/json")
		}
	}
	if n := len(a.written.GetHeaders()); n > maxHeaders {
		f.Add("headers", "must be at most %d, are %d", maxHeaders, n)
	}
	seen := map[string]bool{}
	for i, h := range a.written.GetHeaders() {
		field, name := "headers["+strconv.Itoa(i)+"].name", h.GetName()
		switch lower := strings.ToLower(name); {
		case name == "" || len(name) > maxName || strings.Trim(name, channel.TopicLegal) != "":
			f.Add(field, `must be 1 to %d letters, digits, "-", "_" and "."`, maxName)
		case lower == HeaderContentType || lower == HeaderTrace || strings.HasPrefix(lower, ownHeaders):
			f.Add(field, "%q is written with every record", name)
		case seen[name]:
			f.Add(field, "%q is there twice", name)
		}
		seen[name] = true
	}
	if _, known := configv1.PersonalData_name[int32(a.written.GetPersonalData())]; !known {
		f.Add("personal_data", "%d is not known", a.written.GetPersonalData())
	}
}

// Recipients implements channel.Action: the topic is the only one.
func (a *Action) Recipients(channel.Occasion, string) channel.Recipients {
	return channel.Recipients{To: []channel.Recipient{{ID: a.Target(), OrderingKey: a.Target()}}}
}

// Render implements channel.Action.
func (a *Action) Render(o channel.Occasion, to channel.Planning, _ channel.Recipient, at channel.Position) (channel.Message, error) {
	m, err := a.value(o, to, at)
	if err != nil {
		return channel.Message{}, err
	}
	if m.Key, err = a.key(o, to); err != nil {
		return channel.Message{}, err
	}
	m.Headers = []channel.Header{{Name: HeaderContentType, Value: m.ContentType}, {Name: HeaderNotification, Value: o.Notification()}}
	if at.Sequence > 0 {
		m.Headers = append(m.Headers, channel.Header{Name: HeaderSequence, Value: strconv.FormatInt(at.Sequence, 10)})
	}
	if at.Previous != "" {
		m.Headers = append(m.Headers, channel.Header{Name: HeaderPrevious, Value: at.Previous})
	}
	for i, h := range a.written.GetHeaders() {
		text, err := o.Text(textHeaders+i, to.Audience, o.Reader())
		if err != nil {
			return channel.Message{}, fmt.Errorf("header %s: %w", h.GetName(), err)
		}
		if len(text) > maxRendered {
			return channel.Message{}, fmt.Errorf("%w: header %s takes %d bytes, at most %d", channel.ErrTooLarge, h.GetName(), len(text), maxRendered)
		}
		m.Headers = append(m.Headers, channel.Header{Name: h.GetName(), Value: text})
	}
	return m, nil
}

// value is the record's value, and its type.
func (a *Action) value(o channel.Occasion, to channel.Planning, at channel.Position) (channel.Message, error) {
	if a.written.GetValue() == "" {
		return webhook.CloudEvent(o, to.Audience, at)
	}
	text, err := o.Text(textValue, to.Audience, o.Reader())
	if err != nil {
		return channel.Message{}, err //nolint:wrapcheck // it names the text
	}
	if a.isJSON() && !json.Valid([]byte(text)) {
		return channel.Message{}, errJSON
	}
	return channel.Message{ContentType: a.contentType(), Body: []byte(text)}, nil
}

var errJSON = errors.New("value: what is rendered is no JSON")

// key is the record's: the subject where the action has none. A text that is empty is the key of no record, so those are
// spread over the partitions.
func (a *Action) key(o channel.Occasion, to channel.Planning) ([]byte, error) {
	text := o.Event().Subject
	if a.written.GetKey() != "" {
		var err error
		if text, err = o.Text(textKey, to.Audience, o.Reader()); err != nil {
			return nil, err //nolint:wrapcheck // it names the text
		}
	}
	if len(text) > maxRendered {
		return nil, fmt.Errorf("%w: the key takes %d bytes, at most %d", channel.ErrTooLarge, len(text), maxRendered)
	}
	if text == "" {
		return nil, nil
	}
	return []byte(text), nil
}

func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
