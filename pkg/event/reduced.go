package event

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// Reduced is an event, just decoded, with only those personal and contact fields that are allowed. What its type does not
// have may be either, and stays only where both are. of is the event's type. The event may be changed.
func Reduced(e *Event, of Type, personal, contact bool) *Event {
	if personal && contact {
		return e
	}
	allowed := audience{personal: personal, contact: contact}
	c := *e
	c.Unknown, c.content = nil, 0
	switch data, declared := e.Data.(*structpb.Struct); {
	case declared && of.Schema != nil:
		allowed.reduceStruct(data, of.Data.ProtoReflect().Descriptor())
	case declared:
		c.Data = &structpb.Struct{} // the type is not known any more
	case e.Data != nil:
		c.Data = Without(e.Data, personal, contact)
		discardUnknown(c.Data.ProtoReflect())
	}
	return &c
}

func (a audience) reduceStruct(s *structpb.Struct, d protoreflect.MessageDescriptor) {
	for name, value := range s.GetFields() {
		f := d.Fields().ByName(protoreflect.Name(name))
		if f == nil || a.leavesOut(f) {
			delete(s.Fields, name)
			continue
		}
		if f.Message() == nil {
			continue
		}
		if inner := value.GetStructValue(); inner != nil {
			a.reduceStruct(inner, f.Message())
		}
		for _, one := range value.GetListValue().GetValues() {
			if inner := one.GetStructValue(); inner != nil {
				a.reduceStruct(inner, f.Message())
			}
		}
	}
}

// discardUnknown removes what a message in Protobuf has and its type has not.
func discardUnknown(m protoreflect.Message) {
	if len(m.GetUnknown()) > 0 {
		m.SetUnknown(nil)
	}
	eachField(m, func(_ protoreflect.FieldDescriptor, inner protoreflect.Message) {
		if inner != nil {
			discardUnknown(inner)
		}
	})
}
