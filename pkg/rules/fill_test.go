package rules

import (
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fill sets every field of a message to something, messages within included, members of a oneof all but the last lost.
func fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
		case f.IsList():
			l := m.Mutable(f).List()
			if f.Message() != nil {
				fill(l.AppendMutable().Message())
			} else {
				l.Append(scalar(f))
			}
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
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
