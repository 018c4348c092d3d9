package webhook

import (
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
)

// TypeQuestion is the content type of Question.
const TypeQuestion = typeJSON

// Stages are when a handler is asked.
const (
	StageBefore = "before"
	StageAfter  = "after"
	StageTest   = "test"
)

// Question is what a handler is asked about an event: its reference with the name that profile jerasoft has for its type,
// and the data in Protobuf's JSON as far as audience may read it.
func Question(e *event.Event, stage string, audience channel.Audience) ([]byte, error) {
	m := e.Fields().ProtoReflect()
	l := layoutAt(e)
	if l == nil {
		return nil, fmt.Errorf("write data: %s is no data of an event", m.Descriptor().FullName())
	}
	w := writer{audience: audience}
	if w.object(m, l); w.err != nil {
		return nil, w.err
	}
	name := e.Type
	if named, ok := jerasoftTypes[e.Type]; ok {
		name = named.name
	}
	var head object
	head.text("id", e.ID)
	head.text("events_id", name)
	head.text("dt", e.Time.UTC().Format(event.TimeLayout))
	head.objectID(e)
	head.text("stage", stage)
	b := object{buf: make([]byte, 0, 192+len(w.buf))}
	b.raw(keyEvent, head.end())
	b.raw(keyData, w.buf)
	return b.end(), nil
}

// objectID writes the id of the object that an event is about: a number where it is one, nothing where there is none.
func (o *object) objectID(e *event.Event) {
	switch id := e.Subject[strings.LastIndexByte(e.Subject, '/')+1:]; {
	case isInteger(id):
		o.raw("object_id", []byte(id))
	case id != "":
		o.text("object_id", id)
	}
}

// Members of bodies that hold an event beside its data.
const (
	keyEvent = "event"
	keyData  = "data"
)
