package reply

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/hook"
)

// Change is one field that differs.
type Change struct {
	// Path has the names of the .proto, such as client.bill_day; a list is one field.
	Path string
	// Before and After are values in Protobuf's JSON; nil where the field is absent.
	Before, After json.RawMessage
	// Personal: it is about a person, or how to reach one.
	Personal bool
}

// Compare is what differs between two messages of one type.
func Compare(before, after proto.Message) []Change {
	var c comparison
	c.message("", before.ProtoReflect(), after.ProtoReflect(), false)
	return c.changes
}

type comparison struct{ changes []Change }

func (c *comparison) message(path string, before, after protoreflect.Message, personal bool) {
	b, isStruct := before.Interface().(*structpb.Struct)
	if isStruct {
		a, _ := after.Interface().(*structpb.Struct)
		c.structure(path, b, a, personal)
		return
	}
	fields := before.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		had, has := before.Has(f), after.Has(f)
		if !had && !has {
			continue
		}
		at := join(path, string(f.Name()))
		byPerson, contact := event.PersonalField(f)
		about := personal || byPerson || contact
		if hook.Patched(f) && !f.IsList() {
			b, a := before.Get(f).Message(), after.Get(f).Message()
			n := len(c.changes)
			c.message(at, b, a, about)
			if had == has || len(c.changes) > n {
				continue
			}
		} else if had == has && before.Get(f).Equal(after.Get(f)) {
			continue
		}
		c.changes = append(c.changes, Change{Path: at, Before: valueOf(before, f), After: valueOf(after, f), Personal: about})
	}
}

func (c *comparison) structure(path string, before, after *structpb.Struct, personal bool) {
	names := maps.Clone(before.GetFields())
	if names == nil {
		names = map[string]*structpb.Value{}
	}
	maps.Copy(names, after.GetFields())
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b, a, at := before.GetFields()[name], after.GetFields()[name], join(path, name)
		if isObject(b) && isObject(a) {
			c.structure(at, b.GetStructValue(), a.GetStructValue(), personal)
			continue
		}
		if !proto.Equal(b, a) {
			c.changes = append(c.changes, Change{Path: at, Before: written(b), After: written(a), Personal: personal})
		}
	}
}

func isObject(v *structpb.Value) bool {
	_, ok := v.GetKind().(*structpb.Value_StructValue)
	return ok
}

func written(v *structpb.Value) json.RawMessage {
	if v == nil {
		return nil
	}
	return marshal(v)
}

// valueOf is a field as JSON.
func valueOf(m protoreflect.Message, f protoreflect.FieldDescriptor) json.RawMessage {
	if !m.Has(f) {
		return nil
	}
	alone := m.New()
	alone.Set(f, m.Get(f))
	var members map[string]json.RawMessage
	if err := json.Unmarshal(marshal(alone.Interface()), &members); err != nil {
		return nil
	}
	return members[f.JSONName()]
}

func marshal(m proto.Message) []byte {
	b, err := protojson.Marshal(m)
	if err != nil {
		return []byte(fmt.Sprintf("%q", err))
	}
	return b
}
