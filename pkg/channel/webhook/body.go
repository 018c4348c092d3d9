package webhook

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
)

// cloudEventBody is profile tollgate. The order of the keys is promised; attributes without a value are left out, as
// CloudEvents asks. sequence is a text that is orderable as one, as its extension of CloudEvents says.
func cloudEventBody(o channel.Occasion, a channel.Audience, at channel.Position) (channel.Message, error) {
	data, err := sharedData(o, a)
	if err != nil {
		return channel.Message{}, err
	}
	e := o.Event()
	b := object{buf: make([]byte, 0, 512+len(data))}
	b.text("specversion", "1.0")
	b.text("id", e.ID)
	b.text("source", e.Source)
	b.text("type", e.Type)
	if e.Subject != "" {
		b.text("subject", e.Subject)
	}
	b.text("time", e.Time.UTC().Format(event.TimeLayout))
	b.text("datacontenttype", "application/json")
	b.text("dataschema", event.SchemaPrefix+string(e.Data.ProtoReflect().Descriptor().FullName()))
	b.text("tenant", e.Tenant)
	if at.Sequence != 0 {
		b.text("sequence", sequence(at.Sequence))
	}
	if at.Previous != "" {
		b.text("previous", at.Previous)
	}
	b.text("notification", o.Notification())
	b.raw("data", data)
	return channel.Message{ContentType: "application/cloudevents+json", Body: b.end()}, nil
}

// sequence has the digits of the largest, so that the order of texts is that of numbers.
func sequence(n int64) string { return fmt.Sprintf("%019d", n) }

// parametersBody is profile parameters: names and rendered texts in the order of the notification.
func parametersBody(o channel.Occasion, a channel.Audience) (channel.Message, error) {
	parameters, err := o.Parameters(a)
	if err != nil {
		return channel.Message{}, err
	}
	var b object
	for _, p := range parameters {
		b.text(p.Name, p.Text)
		if len(b.buf) > channel.MaxBody {
			return channel.Message{}, channel.ErrTooLarge
		}
	}
	return channel.Message{ContentType: "application/json; charset=utf-8", Body: b.end()}, nil
}

// eventData is an event's data as JSON, or why there is none. Two thousand deliveries of a large event share it.
type eventData struct {
	json []byte
	err  error
}

// dataKey is the key of eventData among what the deliveries of an event share.
type dataKey struct{ channel.Audience }

func sharedData(o channel.Occasion, a channel.Audience) ([]byte, error) {
	d := o.Once(dataKey{a}, func() any {
		var d eventData
		if d.json, d.err = dataJSON(o.Event().Data, a >= channel.Personal); len(d.json) > channel.MaxBody {
			return eventData{err: fmt.Errorf("%w: the event's data takes %d bytes", channel.ErrTooLarge, len(d.json))}
		}
		return d
	}).(eventData)
	return d.json, d.err
}

// dataJSON is the data in protobuf's JSON, made deterministic, without what may not leave.
func dataJSON(data proto.Message, personalData bool) ([]byte, error) {
	loose, err := protojson.Marshal(event.WithoutContact(data, personalData))
	if err != nil {
		return nil, fmt.Errorf("write data as JSON: %w", err)
	}
	return canonical(loose)
}
