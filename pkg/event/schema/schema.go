package schema

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Bounds of a declaration.
const (
	// MaxFields is how many fields a type has, those of its objects included; MaxDepth how deep objects nest.
	MaxFields = 300
	MaxDepth  = 5
	// MaxItems bounds a list that declares no bound, MaxValues the texts that a field may have.
	MaxItems  = 1000
	MaxValues = 200
	// MaxUnknownDepth is how deep a value may nest that is not declared.
	MaxUnknownDepth = 32

	maxName  = 63 // bytes: of a field
	maxValue = 200
	maxType  = 128
)

// Schema is a declaration that can be read by.
type Schema struct {
	root    *Object
	message protoreflect.MessageType
	// made is what others derive from it, by their keys.
	made sync.Map
}

// Object is the fields of a message.
type Object struct {
	Fields []*Field
	byName map[string]*Field
	// Message has the fields under their names.
	Message protoreflect.MessageDescriptor
}

// Field is a declared field.
type Field struct {
	*configv1.EventField
	// D is the field in the message.
	D protoreflect.FieldDescriptor
	// Inner is what an object has; nil of other kinds.
	Inner *Object
}

// Field finds a field by its name; nil where it is not declared.
func (o *Object) Field(name string) *Field { return o.byName[name] }

// New is an empty message of the object.
func (o *Object) New() *dynamicpb.Message { return dynamicpb.NewMessage(o.Message) }

// Root is what the data of the type has.
func (s *Schema) Root() *Object { return s.root }

// Message is that of the data.
func (s *Schema) Message() protoreflect.MessageType { return s.message }

// Descriptions are those of the declared fields, by the names of those of the message.
func (s *Schema) Descriptions() map[protoreflect.FullName]string {
	all := map[protoreflect.FullName]string{}
	s.root.describe(all)
	return all
}

func (o *Object) describe(all map[protoreflect.FullName]string) {
	for _, f := range o.Fields {
		all[f.D.FullName()] = f.GetDescription()
		if f.Inner != nil {
			f.Inner.describe(all)
		}
	}
}

// Once returns what make made for a key, at the first call.
func (s *Schema) Once(key any, make func() any) any {
	if known, ok := s.made.Load(key); ok {
		return known
	}
	known, _ := s.made.LoadOrStore(key, make())
	return known
}

var (
	typeForm  = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,5}$`)
	fieldForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// FormType is what a name of a type must look like, as a sentence.
const FormType = `must be two to six words of lower-case letters, digits and "_", each with a letter first, and dots between them, such as "acme_order.placed"`

// IsType reports whether a name has the form of a type.
func IsType(name string) bool { return len(name) <= maxType && typeForm.MatchString(name) }

// keywords can be no name of a field in a filter.
var keywords = []string{"in", "true", "false", "null"}

// New compiles the fields of the type of that name. Violations are added to f; the result is nil where there are any.
func New(name string, fields []*configv1.EventField, f *fault.Violations) *Schema {
	before := f.Len()
	if !IsType(name) {
		f.Add("name", FormType)
	}
	c := checking{f: f}
	c.object("fields", fields, 1)
	if c.fields > MaxFields {
		f.Add("fields", "must be at most %d, those of objects included, are %d or more", MaxFields, c.fields)
	}
	if f.Len() > before {
		return nil
	}
	s, err := build(name, fields)
	if err != nil {
		f.Add("fields", "%s", err)
		return nil
	}
	return s
}

// checking finds what is wrong with a declaration.
type checking struct {
	f      *fault.Violations
	fields int
}

// object checks the fields of one object.
func (c *checking) object(path string, fields []*configv1.EventField, depth int) {
	if len(fields) == 0 && depth > 1 {
		c.f.Add(path, "must have at least one: an object has fields")
	}
	seen := map[string]string{}
	for i, d := range fields {
		if c.fields++; c.fields > MaxFields {
			return
		}
		at := path + "[" + strconv.Itoa(i) + "]"
		c.name(at+".name", d.GetName(), seen)
		c.kind(at, d)
		if d.GetKind() != configv1.FieldKind_FIELD_KIND_OBJECT {
			continue
		}
		if depth == MaxDepth {
			c.f.Add(at+".kind", "must not be an object: they nest %d deep at most", MaxDepth)
			continue
		}
		c.object(at+".fields", d.GetFields(), depth+1)
	}
}

// name checks a name; two that differ by capitals and "_" alone are one to many readers of JSON.
func (c *checking) name(at, name string, seen map[string]string) {
	plain := strings.ReplaceAll(strings.ToLower(name), "_", "")
	switch other, twice := seen[plain]; {
	case !fieldForm.MatchString(name) || len(name) > maxName:
		c.f.Add(at, `must be letters, digits and "_", a letter first, at most %d`, maxName)
	case slices.Contains(keywords, name):
		c.f.Add(at, "%q is a word of filters", name)
	case twice && other == name:
		c.f.Add(at, "%q stands twice", name)
	case twice:
		c.f.Add(at, "%q differs from %q by capitals and \"_\" alone", name, other)
	}
	seen[plain] = name
}

// kind checks that what is declared beside a kind belongs to it.
func (c *checking) kind(at string, d *configv1.EventField) {
	k := d.GetKind()
	isText, isNumber := k == configv1.FieldKind_FIELD_KIND_TEXT, k == configv1.FieldKind_FIELD_KIND_INTEGER || k == configv1.FieldKind_FIELD_KIND_NUMBER
	isObject := k == configv1.FieldKind_FIELD_KIND_OBJECT
	switch _, known := configv1.FieldKind_name[int32(k)]; {
	case k == configv1.FieldKind_FIELD_KIND_UNSPECIFIED:
		c.f.Add(at+".kind", "is required")
		return
	case !known, k == configv1.FieldKind_FIELD_KIND_MAP, k == configv1.FieldKind_FIELD_KIND_DURATION:
		c.f.Add(at+".kind", "must be a text, an integer, a number, a boolean, a timestamp, a date, an amount of money or an object")
		return
	}
	if d.GetRepeated() && !isText && !isNumber && !isObject {
		c.f.Add(at+".repeated", "must be false: lists are of texts, integers, numbers and objects")
	}
	if d.GetMaxItems() != 0 && !d.GetRepeated() || d.GetMaxItems() < 0 || d.GetMaxItems() > MaxItems {
		c.f.Add(at+".max_items", "must be from 1 to %d, of a list", MaxItems)
	}
	if d.GetMaxLength() != 0 && !isText || d.GetMaxLength() < 0 {
		c.f.Add(at+".max_length", "must be of a text, and not negative")
	}
	if len(d.GetValues()) > 0 && !isText {
		c.f.Add(at+".values", "must be empty: they are of a text")
	}
	if (d.Minimum != nil || d.Maximum != nil) && !isNumber {
		c.f.Add(at+".minimum", "must not be there, nor maximum: they are of an integer or a number")
	}
	if math.IsNaN(d.GetMinimum()) || math.IsNaN(d.GetMaximum()) || d.Minimum != nil && d.Maximum != nil && d.GetMinimum() > d.GetMaximum() {
		c.f.Add(at+".minimum", "must not be above maximum")
	}
	if len(d.GetFields()) > 0 && !isObject {
		c.f.Add(at+".fields", "must be empty: they are of an object")
	}
	for i, v := range d.GetValues() {
		if v == "" || len(v) > maxValue || slices.Contains(d.GetValues()[:i], v) {
			c.f.Add(at+".values["+strconv.Itoa(i)+"]", "must be a text of at most %d bytes that no other is", maxValue)
		}
	}
}
