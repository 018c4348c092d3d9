// Package difference compares two versions of a resource field by field, shows secrets as they may be shown, and reads which changes
// a request asks for.
package difference

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// secretHash is the one field that only the server writes and whose change is worth a line.
const secretHash protoreflect.Name = "secret_hash"

// IsSecret reports that a field which only the server writes is a secret: that it changed is shown, and not to what.
func IsSecret(name protoreflect.Name) bool { return name == secretHash }

// Fields are the fields in which two versions differ, in the order of their declaration. shownBefore and shownAfter are the
// same with secrets masked: what is shown is taken from them.
func Fields(before, after, shownBefore, shownAfter proto.Message) ([]*configv1.FieldChange, error) {
	c := comparing{}
	c.message("", pair{before.ProtoReflect(), shownBefore.ProtoReflect()}, pair{after.ProtoReflect(), shownAfter.ProtoReflect()})
	return c.found, c.err
}

// pair is a message and how it is shown.
type pair struct{ raw, shown protoreflect.Message }

type comparing struct {
	found []*configv1.FieldChange
	err   error
}

func (c *comparing) message(path string, a, b pair) {
	fields := a.raw.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		at := path + string(f.Name())
		va, vb := a.raw.Get(f), b.raw.Get(f)
		switch {
		case a.raw.Has(f) == b.raw.Has(f) && va.Equal(vb):
		case !a.raw.Has(f) || !b.raw.Has(f) || f.IsMap() || f.Message() == nil || isValue(f.Message()):
			c.field(at, f, a, b)
		case !f.IsList():
			c.message(at+".", pair{va.Message(), a.shown.Get(f).Message()}, pair{vb.Message(), b.shown.Get(f).Message()})
		case va.List().Len() != vb.List().Len() || a.shown.Get(f).List().Len() != va.List().Len() || b.shown.Get(f).List().Len() != vb.List().Len():
			c.field(at, f, a, b)
		default:
			for j := range va.List().Len() {
				element := func(of pair) pair {
					return pair{of.raw.Get(f).List().Get(j).Message(), of.shown.Get(f).List().Get(j).Message()}
				}
				c.message(at+"["+strconv.Itoa(j)+"].", element(a), element(b))
			}
		}
	}
}

// isValue is of messages that are shown whole, such as amounts and durations.
func isValue(d protoreflect.MessageDescriptor) bool {
	return strings.HasPrefix(string(d.FullName()), "google.")
}

// field adds a field whose values differ.
func (c *comparing) field(path string, f protoreflect.FieldDescriptor, a, b pair) {
	one := &configv1.FieldChange{Path: path, Before: c.value(f, a.shown), After: c.value(f, b.shown)}
	if one.Secret = proto.Equal(one.GetBefore(), one.GetAfter()); one.Secret || IsSecret(f.Name()) {
		one.Secret = true
	}
	c.found = append(c.found, one)
}

// value is a field in JSON; nil where it is not set.
func (c *comparing) value(f protoreflect.FieldDescriptor, m protoreflect.Message) *structpb.Value {
	if !m.Has(f) {
		return nil
	}
	alone := m.New()
	alone.Set(f, m.Get(f))
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(alone.Interface())
	fields := map[string]json.RawMessage{}
	if err == nil {
		err = json.Unmarshal(text, &fields)
	}
	out := &structpb.Value{}
	if err == nil {
		err = protojson.Unmarshal(fields[f.TextName()], out)
	}
	if err != nil {
		c.err = fmt.Errorf("show %s: %w", f.FullName(), err)
		return nil
	}
	return out
}
