package channeltest

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
)

// Fill sets every field of a message to something, messages within included, members of a oneof all but the last lost.
func Fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Message() != nil {
				Fill(l.AppendMutable().Message())
			} else {
				l.Append(scalar(f))
			}
		case f.Message() != nil:
			Fill(m.Mutable(f).Message())
		default:
			m.Set(f, scalar(f))
		}
	}
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		if f.Name() == "currency_code" {
			return protoreflect.ValueOfString("EUR")
		}
		return protoreflect.ValueOfString("<" + string(f.Name()) + ">")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(500_000_000)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1_772_366_400)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(12.5)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	}
	panic("fill: " + f.Kind().String())
}

// Marks are the JSON names of a message's own fields that are personal, and those that are contact data.
func Marks(m protoreflect.Message) (personal, contact []string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch isPersonal, isContact := event.PersonalField(f); {
		case isContact:
			contact = append(contact, f.JSONName())
		case isPersonal && m.Has(f) && m.Descriptor().FullName() != "google.protobuf.Struct":
			personal = append(personal, f.JSONName())
		}
	}
	return personal, contact
}
