package event

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// unknownNumbers are the fields of a message in Protobuf that it does not have, by their numbers, at most mostUnknown.
func unknownNumbers(data proto.Message) []string {
	if u, ok := data.(*eventv1.UsageCharged); ok && usageIsKnown(u) {
		return nil // nearly every event is one, and has no others
	}
	var found []string
	unknownIn("data", data.ProtoReflect(), &found)
	slices.Sort(found)
	return slices.Compact(found)
}

// usageIsKnown reports that usage in its usual form has no unknown fields.
func usageIsKnown(u *eventv1.UsageCharged) bool {
	if len(u.ProtoReflect().GetUnknown()) > 0 || u.GetCorrects() != nil || u.GetWholesaleNet() != nil || u.GetWholesaleGross() != nil {
		return false
	}
	return (u.GetNet() == nil || len(u.GetNet().ProtoReflect().GetUnknown()) == 0) &&
		(u.GetGross() == nil || len(u.GetGross().ProtoReflect().GetUnknown()) == 0)
}

func unknownIn(path string, m protoreflect.Message, found *[]string) {
	for b := m.GetUnknown(); len(b) > 0 && len(*found) < mostUnknown; {
		number, _, n := protowire.ConsumeField(b)
		if n < 0 {
			break
		}
		b = b[n:]
		*found = append(*found, path+"."+strconv.Itoa(int(number)))
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + "." + string(f.Name())
		switch {
		case f.Message() == nil || f.IsMap() && f.MapValue().Message() == nil:
		case f.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, inner protoreflect.Value) bool {
				unknownIn(at, inner.Message(), found)
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				unknownIn(at+"["+strconv.Itoa(i)+"]", v.List().Get(i).Message(), found)
			}
		default:
			unknownIn(at, v.Message(), found)
		}
		return len(*found) < mostUnknown
	})
}

// unknownPaths are the fields of what an envelope has as unknown, at most mostUnknown: as deep as the message has fields.
func unknownPaths(path string, unknown *structpb.Struct, d protoreflect.MessageDescriptor, found []string) []string {
	for _, name := range slices.Sorted(maps.Keys(unknown.GetFields())) {
		value, at := unknown.GetFields()[name], path+"."+name
		f := fieldIn(d, name)
		switch {
		case len(found) >= mostUnknown:
			return found
		case f == nil || !isSplit(f):
			found = append(found, at)
		case f.IsList():
			for i, element := range value.GetListValue().GetValues() {
				found = unknownPaths(at+"["+strconv.Itoa(i)+"]", element.GetStructValue(), f.Message(), found)
			}
		default:
			found = unknownPaths(at, value.GetStructValue(), f.Message(), found)
		}
	}
	return found
}

// fieldIn finds a field by either of its names in JSON; nil where the message has none.
func fieldIn(d protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if d == nil {
		return nil
	}
	if f := d.Fields().ByJSONName(name); f != nil {
		return f
	}
	return d.Fields().ByTextName(name)
}

// isSplit is of fields whose JSON is an object of fields, or a list of such.
func isSplit(f protoreflect.FieldDescriptor) bool {
	return f.Message() != nil && !f.IsMap() && !isWellKnown(f.Message())
}

// readKnown reads data in JSON into a message, and returns what the message has no fields for, by its place; nil where
// there is nothing.
func readKnown(text []byte, m proto.Message) (*structpb.Struct, error) {
	first := protojson.Unmarshal(text, m)
	if first == nil {
		return nil, nil
	}
	known, unknown := split(text, m.ProtoReflect().Descriptor())
	if unknown == nil {
		return nil, first
	}
	proto.Reset(m)
	if err := protojson.Unmarshal(known, m); err != nil {
		return nil, err
	}
	kept := &structpb.Struct{}
	if err := protojson.Unmarshal(unknown, kept); err != nil {
		return nil, err
	}
	return kept, nil
}

// split parts the JSON of a message into what it has fields for, and what it has none for, nil where there is nothing. Of a
// list with unknown fields all elements are among those, known ones as empty objects, so that each stands at its place.
func split(text json.RawMessage, d protoreflect.MessageDescriptor) (known, unknown json.RawMessage) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return text, nil // no object: its reader refuses it
	}
	others := map[string]json.RawMessage{}
	for name, value := range fields {
		f := fieldIn(d, name)
		switch {
		case f == nil:
			others[name] = value
			delete(fields, name)
		case !isSplit(f):
		case f.IsList():
			fields[name], value = splitList(value, f.Message())
			if value != nil {
				others[name] = value
			}
		default:
			fields[name], value = split(value, f.Message())
			if value != nil {
				others[name] = value
			}
		}
	}
	if len(others) == 0 {
		return text, nil
	}
	return written(fields), written(others)
}

func splitList(text json.RawMessage, d protoreflect.MessageDescriptor) (known, unknown json.RawMessage) {
	var elements []json.RawMessage
	if json.Unmarshal(text, &elements) != nil {
		return text, nil
	}
	others, some := make([]json.RawMessage, len(elements)), false
	for i := range elements {
		if elements[i], others[i] = split(elements[i], d); others[i] == nil {
			others[i] = json.RawMessage("{}")
		} else {
			some = true
		}
	}
	if !some {
		return text, nil
	}
	return written(elements), written(others)
}

// written is JSON of parts that were JSON.
func written(parts any) json.RawMessage {
	text, err := json.Marshal(parts)
	if err != nil {
		panic("write JSON that was read: " + err.Error())
	}
	return text
}

// isWellKnown is of messages whose JSON is not an object of their fields.
func isWellKnown(d protoreflect.MessageDescriptor) bool {
	return d.FullName().Parent() == "google.protobuf"
}
