package event

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Rewritten is a view of an event with other fields, in its data too, as the declaration has to allow them: the error lists every
// violation. A field that did not change stays as it is; of one that did, what is not declared within it is gone. An event of a
// built-in type only gets the fields.
func (t *Type) Rewritten(e *Event, fields proto.Message) (*Event, error) {
	c := *e
	if t == nil || t.Schema == nil {
		c.Data = fields
		return &c, c.Validate()
	}
	written := &structpb.Struct{}
	text, err := protojson.Marshal(fields)
	if err == nil {
		err = protojson.Unmarshal(text, written)
	}
	if err != nil {
		return nil, fmt.Errorf("write data: %w", err)
	}
	was, _ := e.Data.(*structpb.Struct)
	data, _ := proto.Clone(was).(*structpb.Struct)
	if data.GetFields() == nil {
		data = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	before, after := e.Fields().ProtoReflect(), fields.ProtoReflect()
	for _, f := range t.Schema.Root().Fields {
		if before.Has(f.D) == after.Has(f.D) && before.Get(f.D).Equal(after.Get(f.D)) {
			continue
		}
		if value, there := written.GetFields()[f.GetName()]; there {
			data.Fields[f.GetName()] = value
		} else {
			delete(data.Fields, f.GetName())
		}
	}
	var v violations
	r := customReader{v: &v}
	c.fields = r.object("data", t.Schema.Root(), data)
	c.Data = data
	c.validate(&v)
	return &c, v.err()
}
