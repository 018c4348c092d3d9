package reply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/hook"
)

// patch is sent with the members of data put into it. The error lists every member that does not fit.
func patch(data json.RawMessage, sent proto.Message) (proto.Message, error) {
	out := proto.Clone(sent)
	p := patcher{}
	if isNull(data) {
		p.fault("", "must not be null")
	} else {
		p.message("", data, out.ProtoReflect(), out.ProtoReflect())
	}
	return out, bounded(p.faults)
}

type patcher struct{ faults []error }

func (p *patcher) fault(path, format string, args ...any) {
	if path = strings.TrimSuffix("data."+path, "."); len(path) > 200 {
		path = path[:200] + "…"
	}
	p.faults = append(p.faults, fmt.Errorf(path+" "+format, args...))
}

// message puts the members of raw into m. like is what was sent at this place; nil where nothing was.
func (p *patcher) message(path string, raw json.RawMessage, m, like protoreflect.Message) {
	if s, ok := m.Interface().(*structpb.Struct); ok {
		var was *structpb.Struct
		if like != nil {
			was, _ = like.Interface().(*structpb.Struct)
		}
		p.structure(path, raw, s, was)
		return
	}
	if isEmptyArray(raw) && like != nil && isEmpty(like) {
		return
	}
	members, ok := p.members(path, raw)
	if !ok {
		return
	}
	fields := m.Descriptor().Fields()
	for _, name := range slices.Sorted(maps.Keys(members)) {
		f := fields.ByJSONName(name)
		if f == nil {
			f = fields.ByName(protoreflect.Name(name))
		}
		if f == nil {
			p.fault(join(path, name), "is no field of %s", m.Descriptor().Name())
			continue
		}
		inner := join(path, string(f.Name()))
		if isNull(members[name]) {
			m.Clear(f)
			continue
		}
		p.field(inner, members[name], m, like, f)
	}
}

// members are those of a JSON object.
func (p *patcher) members(path string, raw json.RawMessage) (map[string]json.RawMessage, bool) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		p.fault(path, "must be an object")
		return nil, false
	}
	return members, true
}

func (p *patcher) field(path string, raw json.RawMessage, m, like protoreflect.Message, f protoreflect.FieldDescriptor) {
	switch {
	case f.IsList() && hook.Patched(f):
		p.list(path, raw, m, like, f)
	case f.IsMap() && isEmptyArray(raw):
		if m.Get(f).Map().Len() > 0 {
			p.fault(path, "must be an object")
		}
	case !f.IsMap() && !f.IsList() && hook.Patched(f):
		var was protoreflect.Message
		if like != nil && like.Has(f) {
			was = like.Get(f).Message()
		}
		p.message(path, raw, m.Mutable(f).Message(), was)
	default:
		p.leaf(path, raw, m, f)
	}
}

// list replaces a list of messages.
func (p *patcher) list(path string, raw json.RawMessage, m, like protoreflect.Message, f protoreflect.FieldDescriptor) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		p.fault(path, "must be a list")
		return
	}
	was := m.NewField(f).List()
	if like != nil {
		was = like.Get(f).List()
	}
	list := m.NewField(f).List()
	for i, raw := range elements {
		element := list.NewElement()
		var at protoreflect.Message
		if i < was.Len() {
			at = was.Get(i).Message()
		}
		p.message(fmt.Sprintf("%s[%d]", path, i), raw, element.Message(), at)
		list.Append(element)
	}
	m.Set(f, protoreflect.ValueOfList(list))
}

// leaf replaces a field by what Protobuf's JSON reads: numbers also as texts, 3 also as 3.0.
func (p *patcher) leaf(path string, raw json.RawMessage, m protoreflect.Message, f protoreflect.FieldDescriptor) {
	text := append([]byte(`{"`+f.JSONName()+`":`), raw...)
	read := m.New()
	if err := protojson.Unmarshal(append(text, '}'), read.Interface()); err != nil {
		p.fault(path, "must be a %s", kindOf(f))
		return
	}
	if !read.Has(f) {
		m.Clear(f)
		return
	}
	m.Set(f, read.Get(f))
}

// kindOf is what a field holds, for people.
func kindOf(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.Message() != nil:
		name = string(f.Message().Name())
	case f.Enum() != nil:
		name = string(f.Enum().Name())
	}
	if f.IsList() {
		return "list of " + name
	}
	return name
}

// structure patches an object without a schema.
func (p *patcher) structure(path string, raw json.RawMessage, s, like *structpb.Struct) {
	if isEmptyArray(raw) && like != nil && len(like.GetFields()) == 0 {
		return
	}
	members, ok := p.members(path, raw)
	if !ok {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		was := like.GetFields()[name]
		if isNull(members[name]) {
			if _, null := was.GetKind().(*structpb.Value_NullValue); !null {
				delete(s.Fields, name)
			}
			continue
		}
		if s.Fields == nil {
			s.Fields = map[string]*structpb.Value{}
		}
		s.Fields[name] = p.value(join(path, name), members[name], s.Fields[name], was)
	}
}

// value is what a member of an object without a schema becomes. now is what stands there, was what was sent there.
func (p *patcher) value(path string, raw json.RawMessage, now, was *structpb.Value) *structpb.Value {
	object := now.GetStructValue()
	switch {
	case isEmptyArray(raw) && isEmptyObject(was):
		return structpb.NewStructValue(&structpb.Struct{})
	case raw[0] == '{':
		if object == nil {
			object = &structpb.Struct{}
		}
		p.structure(path, raw, object, was.GetStructValue())
		return structpb.NewStructValue(object)
	case raw[0] == '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			p.fault(path, "must be a list")
			return now
		}
		list := &structpb.ListValue{Values: make([]*structpb.Value, len(elements))}
		for i, raw := range elements {
			var at *structpb.Value
			if sent := was.GetListValue().GetValues(); i < len(sent) {
				at = sent[i]
			}
			list.Values[i] = p.value(fmt.Sprintf("%s[%d]", path, i), bytes.TrimSpace(raw), nil, at)
		}
		return structpb.NewListValue(list)
	}
	v := &structpb.Value{}
	if err := protojson.Unmarshal(raw, v); err != nil {
		p.fault(path, "must be a JSON value")
		return now
	}
	return v
}

func isEmptyObject(v *structpb.Value) bool {
	s, ok := v.GetKind().(*structpb.Value_StructValue)
	return ok && len(s.StructValue.GetFields()) == 0
}

// isEmpty reports that nothing is in a message.
func isEmpty(m protoreflect.Message) bool {
	empty := true
	m.Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool {
		empty = false
		return false
	})
	return empty
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// isEmptyArray is what PHP makes of an empty object.
func isEmptyArray(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) >= 2 && raw[0] == '[' && len(bytes.TrimSpace(raw[1:])) == 1
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
