package event

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// MarkOf says whether a field of a data message tells something about a person, and whether it is how to reach one;
// contact data is personal too.
func MarkOf(field protoreflect.FieldDescriptor) (personal, contact bool) {
	mark, ok := proto.GetExtension(field.Options(), eventv1.E_Field).(*eventv1.FieldMark)
	if !ok {
		return false, false
	}
	return mark.GetPersonal() || mark.GetContact(), mark.GetContact()
}

// WithoutContact is data as it may leave by a webhook: a copy without contact fields, and without personal ones unless
// personal is allowed. It is data itself where nothing was left out.
func WithoutContact(data proto.Message, personal bool) proto.Message {
	if !marked(data.ProtoReflect(), personal) {
		return data
	}
	c := proto.Clone(data)
	clearMarked(c.ProtoReflect(), personal)
	return c
}

func marked(m protoreflect.Message, personal bool) bool {
	found := false
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		found = found || leaves(f, personal) || inner != nil && marked(inner, personal)
	})
	return found
}

func clearMarked(m protoreflect.Message, personal bool) {
	eachField(m, func(f protoreflect.FieldDescriptor, inner protoreflect.Message) {
		switch {
		case leaves(f, personal):
			m.Clear(f)
		case inner != nil:
			clearMarked(inner, personal)
		}
	})
}

func leaves(f protoreflect.FieldDescriptor, personal bool) bool {
	isPersonal, isContact := MarkOf(f)
	return isContact || isPersonal && !personal
}

// eachField calls f for every field that is set: once, or once for each message of a list or map. A Struct is one value.
func eachField(m protoreflect.Message, f func(protoreflect.FieldDescriptor, protoreflect.Message)) {
	if m.Descriptor().FullName() == structName {
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				f(field, value.List().Get(i).Message())
			}
		case field.IsMap() && field.MapValue().Message() != nil:
			value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				f(field, v.Message())
				return true
			})
		case field.Message() != nil && !field.IsMap():
			f(field, value.Message())
		default:
			f(field, nil)
		}
		return true
	})
}
