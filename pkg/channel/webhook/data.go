package webhook

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/spend"
)

// layout is how messages of one type are written.
type layout []field

// field is a field of a layout.
type field struct {
	d protoreflect.FieldDescriptor
	// key is the name in Protobuf's JSON and what stands around it; currency that of a decimal's currency.
	key, currency string
	// audience is who may read it.
	audience channel.Audience
	// zero: it is written also where it is false or 0.
	zero bool
	// inner is the layout of a message that is written field by field; nil of any other field.
	inner layout
}

const moneyName protoreflect.FullName = "google.type.Money"

// layouts are those of the catalog's messages.
var layouts = func() map[protoreflect.FullName]layout {
	all := map[protoreflect.FullName]layout{}
	for _, t := range event.Types() {
		layoutOf(t.Data.ProtoReflect().Descriptor(), all)
	}
	return all
}()

// layoutKey is under which a declared type has its layout.
type layoutKey struct{}

// layoutAt is the layout of an event's fields.
func layoutAt(e *event.Event) layout {
	m := e.Fields().ProtoReflect().Descriptor()
	if e.Declared == nil || e.Declared.Schema == nil {
		return layouts[m.FullName()]
	}
	return e.Declared.Schema.Once(layoutKey{}, func() any { return layoutOf(m, map[protoreflect.FullName]layout{}) }).(layout)
}

// layoutOf makes the layout of a message, and of those within it.
func layoutOf(m protoreflect.MessageDescriptor, all map[protoreflect.FullName]layout) layout {
	known, ok := all[m.FullName()]
	switch {
	case known != nil:
		return known
	case ok:
		panic(fmt.Sprintf("webhook: %s has itself within", m.FullName())) // a slip in a .proto, in every test
	}
	all[m.FullName()] = nil
	out := make(layout, m.Fields().Len())
	for i := range out {
		d := m.Fields().Get(i)
		if d.IsMap() || d.IsList() && d.Message() != nil && d.Message().FullName() == moneyName {
			panic(fmt.Sprintf("webhook: %s has no form in a body", d.FullName())) // a slip in a .proto, in every test
		}
		f := field{d: d, key: quotedName(d.JSONName()) + ":", currency: quotedName(d.JSONName()+"Currency") + ":"}
		switch personal, contact := event.PersonalField(d); {
		case contact:
			f.audience = channel.Contact
		case personal:
			f.audience = channel.Personal
		}
		f.zero = !d.IsList() && !d.HasPresence() && isNumber(d.Kind())
		if d.Message() != nil && !strings.HasPrefix(string(d.Message().FullName()), "google.protobuf.") {
			f.inner = layoutOf(d.Message(), all)
		}
		out[i] = f
	}
	all[m.FullName()] = out
	return out
}

// isNumber is of numbers and of true and false.
func isNumber(k protoreflect.Kind) bool {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.EnumKind, protoreflect.MessageKind, protoreflect.GroupKind:
		return false
	}
	return true
}

// writer writes data in Protobuf's JSON, in the order of declaration and for one audience. False and 0 are written;
// messages, texts and lists that are not there are not, nor an unspecified enum.
type writer struct {
	buf      []byte
	audience channel.Audience
	// decimals: an amount is a decimal text, and its currency the next field.
	decimals bool
	err      error
}

// object writes a message.
func (w *writer) object(m protoreflect.Message, l layout) {
	w.buf = append(w.buf, '{')
	for i := range l {
		w.field(m, &l[i])
	}
	w.buf = append(w.buf, '}')
}

// field writes a field with its name, where it is there and may be read.
func (w *writer) field(m protoreflect.Message, f *field) {
	if f.audience > w.audience || !f.zero && !m.Has(f.d) {
		return
	}
	w.written(m.Get(f.d), f)
}

// written writes a field with its name, whatever its value.
func (w *writer) written(v protoreflect.Value, f *field) {
	if w.buf[len(w.buf)-1] != '{' {
		w.buf = append(w.buf, ',')
	}
	w.buf = append(w.buf, f.key...)
	if f.d.IsList() {
		w.buf = append(w.buf, '[')
		for i := range v.List().Len() {
			if i > 0 {
				w.buf = append(w.buf, ',')
			}
			w.value(v.List().Get(i), f)
		}
		w.buf = append(w.buf, ']')
		return
	}
	if w.decimals && f.d.Message() != nil && f.d.Message().FullName() == moneyName {
		w.amount(v.Message(), f)
		return
	}
	w.value(v, f)
}

// amount writes an amount as a decimal text, and its currency.
func (w *writer) amount(m protoreflect.Message, f *field) {
	amount, ok := m.Interface().(*money.Money)
	if !ok {
		w.fail(f, fmt.Errorf("is a %T", m.Interface()))
		return
	}
	sum, err := spend.AmountOf(amount.GetUnits(), amount.GetNanos())
	if err != nil {
		w.fail(f, err)
		return
	}
	w.buf = appendString(w.buf, sum.String())
	w.buf = append(append(w.buf, ','), f.currency...)
	w.buf = appendString(w.buf, amount.GetCurrencyCode())
}

func (w *writer) value(v protoreflect.Value, f *field) {
	switch f.d.Kind() {
	case protoreflect.BoolKind:
		w.buf = strconv.AppendBool(w.buf, v.Bool())
	case protoreflect.StringKind:
		w.buf = appendString(w.buf, v.String())
	case protoreflect.BytesKind:
		w.buf = append(base64.StdEncoding.AppendEncode(append(w.buf, '"'), v.Bytes()), '"')
	case protoreflect.EnumKind:
		if value := f.d.Enum().Values().ByNumber(v.Enum()); value != nil {
			w.buf = appendString(w.buf, string(value.Name()))
			return
		}
		w.buf = strconv.AppendInt(w.buf, int64(v.Enum()), 10)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		w.buf = strconv.AppendInt(w.buf, v.Int(), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		w.buf = strconv.AppendUint(w.buf, v.Uint(), 10)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		w.buf = append(strconv.AppendInt(append(w.buf, '"'), v.Int(), 10), '"')
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		w.buf = append(strconv.AppendUint(append(w.buf, '"'), v.Uint(), 10), '"')
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		w.float(v)
	case protoreflect.MessageKind, protoreflect.GroupKind:
		w.message(v.Message(), f)
	}
}

// float writes a number as Protobuf's JSON does: those that JSON lacks are texts.
func (w *writer) float(v protoreflect.Value) {
	switch n := v.Float(); {
	case math.IsNaN(n):
		w.buf = append(w.buf, `"NaN"`...)
	case math.IsInf(n, 1):
		w.buf = append(w.buf, `"Infinity"`...)
	case math.IsInf(n, -1):
		w.buf = append(w.buf, `"-Infinity"`...)
	default:
		text, err := json.Marshal(v.Interface())
		w.buf = append(w.buf, text...)
		w.err = errors.Join(w.err, err)
	}
}

// message writes a message that is a value: by its layout, or as Protobuf's JSON has those of google.protobuf.
func (w *writer) message(m protoreflect.Message, f *field) {
	if f.inner != nil {
		w.object(m, f.inner)
		return
	}
	if t, ok := m.Interface().(*timestamppb.Timestamp); ok {
		w.time(t.AsTime())
		return
	}
	loose, err := protojson.Marshal(m.Interface())
	if err != nil {
		w.fail(f, err)
		return
	}
	strict, err := canonical(loose)
	if err != nil {
		w.fail(f, err)
		return
	}
	w.buf = append(w.buf, strict...)
}

// time writes an instant with 0, 3, 6 or 9 digits of its second.
func (w *writer) time(t time.Time) {
	text := t.Format("2006-01-02T15:04:05.000000000")
	text = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(text, "000"), "000"), ".000")
	w.buf = append(append(append(w.buf, '"'), text...), 'Z', '"')
}

func (w *writer) fail(f *field, err error) {
	w.err = errors.Join(w.err, fmt.Errorf("write %s as JSON: %w", f.d.FullName(), err))
}

func quotedName(name string) string { return string(appendString(nil, name)) }
