package webhook

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
)

// Content types of bodies.
const (
	typeCloudEvent = "application/cloudevents+json"
	typeJSON       = "application/json; charset=utf-8"
)

// rendering is what a message is made of.
type rendering struct {
	channel.Occasion
	event    *event.Event
	audience channel.Audience
	at       channel.Position
}

// contentType is the attribute that stands in a header of its own where the others do.
const contentType = "datacontenttype"

// attributes are those of CloudEvents and our extensions of it, in the order that is promised. Those without a value are
// left out, as CloudEvents asks. sequence is a text that is orderable as one, as its extension of CloudEvents asks.
func (r rendering) attributes(each func(name, value string)) {
	e := r.event
	add := func(name, value string) {
		if value != "" {
			each(name, value)
		}
	}
	add("specversion", "1.0")
	add("id", e.ID)
	add("source", e.Source)
	add("type", e.Type)
	add("subject", e.Subject)
	add("time", r.time())
	add(contentType, "application/json")
	add("dataschema", event.SchemaPrefix+string(e.Data.ProtoReflect().Descriptor().FullName()))
	add("tenant", e.Tenant)
	if r.at.Sequence != 0 {
		add("sequence", sequence(r.at.Sequence))
	}
	add("previous", r.at.Previous)
	add("notification", r.Notification())
	add("firing", r.Firing()) // of several from one event
}

// sequence has the digits of the largest, so that the order of texts is that of numbers.
func sequence(n int64) string { return fmt.Sprintf("%019d", n) }

// time is the event's, in RFC 3339, UTC.
func (r rendering) time() string { return r.event.Time.UTC().Format(event.TimeLayout) }

// tollgate is a CloudEvent in structured mode.
func (r rendering) tollgate() (channel.Message, error) {
	data, err := r.data(false)
	if err != nil {
		return channel.Message{}, err
	}
	b := object{buf: make([]byte, 0, 512+len(data))}
	r.attributes(b.text)
	b.raw("data", data)
	if err := r.addParameters(&b); err != nil {
		return channel.Message{}, err
	}
	return channel.Message{ContentType: typeCloudEvent, Body: b.end()}, nil
}

// cloudEventsBinary is a CloudEvent in binary mode.
func (r rendering) cloudEventsBinary() (channel.Message, error) {
	data, err := r.data(false)
	if err != nil {
		return channel.Message{}, err
	}
	m := channel.Message{ContentType: typeJSON, Body: data}
	r.attributes(func(name, value string) {
		if name != contentType {
			m.Headers = append(m.Headers, channel.Header{Name: "ce-" + name, Value: headerValue(value)})
		}
	})
	return m, nil
}

// ocsio is the event's data, with its reference in headers.
func (r rendering) ocsio() (channel.Message, error) {
	data, err := r.data(true)
	if err != nil {
		return channel.Message{}, err
	}
	return channel.Message{ContentType: typeJSON, Body: data, Headers: []channel.Header{
		{Name: ocsioPrefix + "transaction-id", Value: headerValue(r.event.ID)},
		{Name: ocsioPrefix + "notification-code", Value: headerValue(r.Notification())},
		{Name: ocsioPrefix + "notification-payload", Value: string(r.event.Fields().ProtoReflect().Descriptor().Name())},
	}}, nil
}

const ocsioPrefix = "X-Ocs-Io-"

// parameters is names and rendered texts in the order of the notification.
func (r rendering) parameters() (channel.Message, error) {
	var b object
	if err := r.texts(&b); err != nil {
		return channel.Message{}, err
	}
	return channel.Message{ContentType: typeJSON, Body: b.end()}, nil
}

// addParameters adds the action's parameters as a last key, where it has any.
func (r rendering) addParameters(b *object) error {
	var texts object
	if err := r.texts(&texts); err != nil || len(texts.buf) == 0 {
		return err
	}
	b.raw("parameters", texts.end())
	return nil
}

func (r rendering) texts(b *object) error {
	all, err := r.Parameters(r.audience)
	if err != nil {
		return err //nolint:wrapcheck // it names the parameter
	}
	for _, p := range all {
		b.text(p.Name, p.Text)
		if len(b.buf) > channel.MaxBody {
			return channel.ErrTooLarge
		}
	}
	return nil
}

// headerValue is a text as the HTTP binding of CloudEvents has it: what is not printable ASCII, a space, a quote and a
// percent sign are percent-encoded, byte by byte.
func headerValue(text string) string {
	const hex = "0123456789ABCDEF"
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	n := 0
	for i := range len(text) {
		if !plain(text[i]) {
			n++
		}
	}
	if n == 0 {
		return text
	}
	out := make([]byte, 0, len(text)+2*n)
	for i := range len(text) {
		if c := text[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

// shared is JSON that the deliveries of an event have in common, or why there is none. Two thousand deliveries of a large
// event share it.
type shared struct {
	json []byte
	err  error
}

// dataKey is the key of shared JSON among what the deliveries of an event share.
type dataKey struct {
	form     string
	audience channel.Audience
	decimals bool
}

// data is the event's data, without what the audience may not read. decimals: amounts are decimal texts.
func (r rendering) data(decimals bool) ([]byte, error) {
	return r.once(dataKey{"data", r.audience, decimals}, func(w *writer) {
		m := r.event.Fields().ProtoReflect()
		w.object(m, layoutAt(r.event))
	})
}

// once writes JSON unless another delivery of the event has.
func (r rendering) once(key dataKey, write func(w *writer)) ([]byte, error) {
	s := r.Once(key, func() any {
		w := writer{audience: key.audience, decimals: key.decimals}
		write(&w)
		switch {
		case w.err != nil:
			return shared{err: w.err}
		case len(w.buf) > channel.MaxBody:
			return shared{err: fmt.Errorf("%w: the event's data takes %d bytes", channel.ErrTooLarge, len(w.buf))}
		}
		return shared{json: w.buf}
	}).(shared)
	return s.json, s.err
}

// CloudEvent is the message of profile Tollgate, for another channel.
func CloudEvent(o channel.Occasion, audience channel.Audience, at channel.Position) (channel.Message, error) {
	return rendering{o, o.Event(), audience, at}.tollgate()
}
