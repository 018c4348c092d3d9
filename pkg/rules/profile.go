package rules

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
)

// Profile is the form of a webhook's body.
type Profile uint8

const (
	// Tollgate is CloudEvents 1.0, structured, with our extension attributes.
	Tollgate Profile = iota
	// Parameters is a flat object of the action's parameters.
	Parameters
)

// String is the profile as its documentation calls it.
func (p Profile) String() string {
	return [...]string{Tollgate: "tollgate", Parameters: "parameters"}[p]
}

// cloudEventBody is profile tollgate. The order of the keys is promised; attributes without a value are left out, as
// CloudEvents asks. sequence is a text that is orderable as one, as its extension of CloudEvents says.
func (r *Rule) cloudEventBody(o *Occasion, to Endpoint, at Lane) (Body, error) {
	data, err := o.dataJSON(to.PersonalData)
	if err != nil {
		return Body{}, err
	}
	e := o.Event
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
	b.text("notification", r.Code)
	b.raw("data", data)
	return Body{ContentType: "application/cloudevents+json", Bytes: b.end()}, nil
}

// sequence has the digits of the largest, so that the order of texts is that of numbers.
func sequence(n int64) string { return fmt.Sprintf("%019d", n) }

// parametersBody is profile parameters: names and rendered texts in the order of the notification.
func (p *Plan) parametersBody(o *Occasion, to Endpoint) (Body, error) {
	values := o.values(to.PersonalData)
	if p.cost.each > 0 && o.longest > maxListed {
		return Body{}, fmt.Errorf("%w: a list of %d elements is ranged over, at most %d", ErrTooLarge, o.longest, maxListed)
	}
	var b object
	for _, param := range p.parameters {
		text, err := execute(param.text, values)
		if err != nil {
			return Body{}, fmt.Errorf("parameter %q: %w", param.name, err)
		}
		b.text(param.name, text)
		if len(b.buf) > MaxBody {
			return Body{}, ErrTooLarge
		}
	}
	return Body{ContentType: "application/json; charset=utf-8", Bytes: b.end()}, nil
}

// dataJSON is dataJSON of the event, made once.
func (o *Occasion) dataJSON(personalData bool) ([]byte, error) {
	d := &o.data[which(personalData)]
	if d.json == nil && d.err == nil {
		if d.json, d.err = dataJSON(o.Event.Data, personalData); len(d.json) > MaxBody {
			*d = eventData{err: fmt.Errorf("%w: the event's data takes %d bytes", ErrTooLarge, len(d.json))}
		}
	}
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
