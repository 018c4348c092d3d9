package event

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event/schema"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// customReader reads the data of a declared type into its message. What it reads it also brings into one form, so that one
// event has the same bytes in whatever encoding it came; a lenient one changes nothing, and asks for kinds alone.
type customReader struct {
	v       *violations
	lenient bool
	// unknown are the paths of what is not declared, at most mostUnknown.
	unknown []string
}

// mostUnknown is how many unknown fields are named.
const mostUnknown = 100

// exact is the largest integer up to which a number of JSON stands for no other.
const exact = 1<<53 - 1

func (r *customReader) object(path string, o *schema.Object, data *structpb.Struct) proto.Message {
	m := o.New()
	for _, f := range o.Fields {
		r.field(path+"."+f.GetName(), f, data, m)
	}
	if !r.lenient {
		for _, name := range slices.Sorted(maps.Keys(data.GetFields())) {
			if o.Field(name) == nil {
				r.undeclared(path+"."+name, data.GetFields()[name])
			}
		}
	}
	return m
}

// undeclared notes a value that is not declared. One that nests too deep for readers of JSON is a violation.
func (r *customReader) undeclared(path string, value *structpb.Value) {
	if len(r.unknown) < mostUnknown {
		r.unknown = append(r.unknown, path)
	}
	checkUndeclared(r.v, path, value, schema.MaxUnknownDepth)
}

func checkUndeclared(v *violations, path string, value *structpb.Value, depth int) {
	if depth == 0 {
		if !v.names(path) {
			v.add(reason.EventInvalid, path, "must not nest more than %d deep", schema.MaxUnknownDepth)
		}
		return
	}
	switch k := value.GetKind().(type) {
	case *structpb.Value_StructValue:
		for _, inner := range k.StructValue.GetFields() {
			checkUndeclared(v, path, inner, depth-1)
		}
	case *structpb.Value_ListValue:
		for _, inner := range k.ListValue.GetValues() {
			checkUndeclared(v, path, inner, depth-1)
		}
	case *structpb.Value_NumberValue:
		if (math.IsNaN(k.NumberValue) || math.IsInf(k.NumberValue, 0)) && !v.names(path) {
			v.add(reason.EventInvalid, path, wantFinite)
		}
	}
}

const wantFinite = "must be a number that JSON has"

// isNull is a value that is not there.
func isNull(v *structpb.Value) bool {
	switch v.GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return true
	}
	return false
}

// field reads one field, where it is there.
func (r *customReader) field(path string, f *schema.Field, data *structpb.Struct, m protoreflect.Message) {
	value, there := data.GetFields()[f.GetName()]
	if isNull(value) {
		if there && !r.lenient {
			delete(data.GetFields(), f.GetName())
		}
		if f.GetRequired() && !r.lenient {
			r.v.add(reason.EventInvalid, path, "is required")
		}
		return
	}
	if !f.GetRepeated() {
		if v, ok := r.value(path, f, value); ok {
			m.Set(f.D, v)
		}
		return
	}
	list, ok := value.GetKind().(*structpb.Value_ListValue)
	if !ok {
		r.v.add(reason.EventInvalid, path, "must be a list")
		return
	}
	elements := list.ListValue.GetValues()
	most := int(f.GetMaxItems())
	if most == 0 {
		most = schema.MaxItems
	}
	if !r.lenient {
		switch {
		case len(elements) > most:
			r.v.add(reason.EventInvalid, path, "must be at most %d elements, has %d", most, len(elements))
			return
		case len(elements) == 0 && f.GetRequired():
			r.v.add(reason.EventInvalid, path, "is required: it must have an element")
		}
	}
	into := m.Mutable(f.D).List()
	for i, element := range elements {
		at := path + "[" + strconv.Itoa(i) + "]"
		if isNull(element) {
			r.v.add(reason.EventInvalid, at, "must not be null")
			continue
		}
		if v, ok := r.value(at, f, element); ok {
			into.Append(v)
		}
	}
}

// value reads one value.
func (r *customReader) value(path string, f *schema.Field, value *structpb.Value) (v protoreflect.Value, ok bool) {
	switch f.GetKind() {
	case configv1.FieldKind_FIELD_KIND_TEXT:
		return r.text(path, f, value)
	case configv1.FieldKind_FIELD_KIND_INTEGER:
		return r.integer(path, f, value)
	case configv1.FieldKind_FIELD_KIND_NUMBER:
		n, is := value.GetKind().(*structpb.Value_NumberValue)
		if !is || math.IsNaN(n.NumberValue) || math.IsInf(n.NumberValue, 0) {
			r.v.add(reason.EventInvalid, path, wantFinite)
			return v, false
		}
		r.within(path, f, n.NumberValue)
		return protoreflect.ValueOfFloat64(n.NumberValue), true
	case configv1.FieldKind_FIELD_KIND_BOOLEAN:
		b, is := value.GetKind().(*structpb.Value_BoolValue)
		if !is {
			r.v.add(reason.EventInvalid, path, "must be true or false")
			return v, false
		}
		return protoreflect.ValueOfBool(b.BoolValue), true
	case configv1.FieldKind_FIELD_KIND_MONEY:
		return r.money(path, value)
	case configv1.FieldKind_FIELD_KIND_OBJECT:
		o, is := value.GetKind().(*structpb.Value_StructValue)
		if !is {
			r.v.add(reason.EventInvalid, path, "must be an object")
			return v, false
		}
		return protoreflect.ValueOfMessage(r.object(path, f.Inner, o.StructValue).ProtoReflect()), true
	}
	return r.time(path, value)
}

func (r *customReader) text(path string, f *schema.Field, value *structpb.Value) (v protoreflect.Value, ok bool) {
	s, is := value.GetKind().(*structpb.Value_StringValue)
	if !is {
		r.v.add(reason.EventInvalid, path, "must be a text")
		return v, false
	}
	if most := int(f.GetMaxLength()); most > 0 && !r.lenient && utf8.RuneCountInString(s.StringValue) > most {
		r.v.add(reason.EventInvalid, path, "must be at most %d characters, has %d", most, utf8.RuneCountInString(s.StringValue))
	}
	if known := f.GetValues(); len(known) > 0 && !r.lenient && !slices.Contains(known, s.StringValue) {
		r.v.add(reason.EventInvalid, path, "must be one of its %d values, such as %q", len(known), known[0])
	}
	return protoreflect.ValueOfString(s.StringValue), true
}

// integer reads a number, or its digits where a number of JSON would be another one.
func (r *customReader) integer(path string, f *schema.Field, value *structpb.Value) (v protoreflect.Value, ok bool) {
	var n int64
	switch k := value.GetKind().(type) {
	case *structpb.Value_NumberValue:
		if k.NumberValue != math.Trunc(k.NumberValue) || math.Abs(k.NumberValue) > exact {
			r.v.add(reason.EventInvalid, path, "must be a whole number up to %d either way, or a larger one of 64 bits as a text of its digits", int64(exact))
			return v, false
		}
		n = int64(k.NumberValue)
	case *structpb.Value_StringValue:
		var err error
		if n, err = strconv.ParseInt(k.StringValue, 10, 64); err != nil {
			r.v.add(reason.EventInvalid, path, "must be a whole number of 64 bits")
			return v, false
		}
	default:
		r.v.add(reason.EventInvalid, path, "must be a whole number")
		return v, false
	}
	if !r.lenient {
		r.within(path, f, float64(n))
		if n >= -exact && n <= exact {
			value.Kind = &structpb.Value_NumberValue{NumberValue: float64(n)}
		} else {
			value.Kind = &structpb.Value_StringValue{StringValue: strconv.FormatInt(n, 10)}
		}
	}
	return protoreflect.ValueOfInt64(n), true
}

func (r *customReader) within(path string, f *schema.Field, n float64) {
	switch {
	case r.lenient:
	case f.Minimum != nil && n < f.GetMinimum():
		r.v.add(reason.EventInvalid, path, "must be at least %s", strconv.FormatFloat(f.GetMinimum(), 'f', -1, 64))
	case f.Maximum != nil && n > f.GetMaximum():
		r.v.add(reason.EventInvalid, path, "must be at most %s", strconv.FormatFloat(f.GetMaximum(), 'f', -1, 64))
	}
}

func (r *customReader) time(path string, value *structpb.Value) (v protoreflect.Value, ok bool) {
	s, is := value.GetKind().(*structpb.Value_StringValue)
	if !is {
		r.v.add(reason.EventInvalid, path, formTime)
		return v, false
	}
	t, err := ParseTime(s.StringValue)
	if err == nil && (t.Unix() < minSeconds || t.Unix() > maxSeconds) {
		r.v.add(reason.EventInvalid, path, timeRange)
		return v, false
	}
	if err != nil {
		r.v.add(reason.EventInvalid, path, formTime)
		return v, false
	}
	if !r.lenient {
		value.Kind = &structpb.Value_StringValue{StringValue: t.Format(time.RFC3339Nano)}
	}
	return protoreflect.ValueOfMessage(timestamppb.New(t).ProtoReflect()), true
}

// money reads google.type.Money in JSON, its names in either spelling.
func (r *customReader) money(path string, value *structpb.Value) (v protoreflect.Value, ok bool) {
	o, is := value.GetKind().(*structpb.Value_StructValue)
	if !is {
		r.v.add(reason.AmountInvalid, path, `must be an amount, such as {"currencyCode": "EUR", "units": "12", "nanos": 500000000}`)
		return v, false
	}
	var m money.Money
	before := len(r.v.fields)
	twice := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(o.StructValue.GetFields())) {
		inner := o.StructValue.GetFields()[name]
		if name == "currency_code" {
			name = "currencyCode"
		}
		at := path + "." + name
		if twice[name] {
			r.v.add(reason.AmountInvalid, at, "must not be there twice")
		}
		twice[name] = true
		switch name {
		case "currencyCode":
			m.CurrencyCode = inner.GetStringValue()
		case "units":
			n, whole := wholeOf(inner)
			if m.Units = n; !whole {
				r.v.add(reason.AmountInvalid, at, "must be a whole number of 64 bits")
			}
		case "nanos":
			n, whole := wholeOf(inner)
			if m.Nanos = int32(n); !whole || int64(m.Nanos) != n {
				r.v.add(reason.AmountInvalid, at, "must lie between -999,999,999 and 999,999,999")
			}
		default:
			if !r.lenient {
				r.undeclared(at, inner)
			}
		}
	}
	if len(r.v.fields) == before {
		checkMoney(r.v, path, &m)
	}
	if len(r.v.fields) > before {
		return v, false
	}
	if !r.lenient {
		fields := o.StructValue.GetFields()
		delete(fields, "currency_code")
		delete(fields, "nanos")
		fields["currencyCode"] = structpb.NewStringValue(m.GetCurrencyCode())
		fields["units"] = structpb.NewStringValue(strconv.FormatInt(m.GetUnits(), 10))
		if m.GetNanos() != 0 {
			fields["nanos"] = structpb.NewNumberValue(float64(m.GetNanos()))
		}
	}
	return protoreflect.ValueOfMessage(m.ProtoReflect()), true
}

// wholeOf is a whole number in JSON, or a text of its digits; null is 0.
func wholeOf(v *structpb.Value) (int64, bool) {
	switch k := v.GetKind().(type) {
	case nil, *structpb.Value_NullValue:
		return 0, true
	case *structpb.Value_NumberValue:
		return int64(k.NumberValue), k.NumberValue == math.Trunc(k.NumberValue) && math.Abs(k.NumberValue) <= exact
	case *structpb.Value_StringValue:
		n, err := strconv.ParseInt(k.StringValue, 10, 64)
		return n, err == nil
	}
	return 0, false
}
