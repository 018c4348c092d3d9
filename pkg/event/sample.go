package event

import (
	"math"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event/schema"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// sampleSource is the source of sample events, which no producer may use.
const sampleSource = "tollgate/sample"

// sampleDepth bounds messages within messages.
const sampleDepth = 4

// Sample is an event of a built-in type that shows what its fields look like. It is valid, is about nobody, and is the
// same for the same arguments. It reports false where the type is not known.
func Sample(name, tenant, id string, at time.Time) (*Event, bool) {
	t, ok := Lookup(name)
	if !ok {
		return nil, false
	}
	return t.Sample(tenant, id, at), true
}

// Sample is one of the type, built in or declared.
func (t *Type) Sample(tenant, id string, at time.Time) *Event {
	at = at.UTC().Truncate(time.Millisecond)
	e := &Event{ID: id, Source: sampleSource, Type: t.Name, Tenant: tenant, Time: at, ReceivedAt: at, Subject: "sample/1"}
	if t.Subscriber {
		e.Subject = sampleMSISDN
	}
	if t.Schema != nil {
		e.Data, e.Declared = sampleOf(t.Schema.Root(), at), t
		return e
	}
	data := t.Data.ProtoReflect().New()
	fillSample(data, at, sampleDepth)
	e.Data = data.Interface()
	return e
}

// sampleOf is data that a declaration allows, with every field.
func sampleOf(o *schema.Object, at time.Time) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(o.Fields))}
	for _, f := range o.Fields {
		v := sampleValue(f, at)
		if f.GetRepeated() {
			v = structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{v}})
		}
		s.Fields[f.GetName()] = v
	}
	return s
}

func sampleValue(f *schema.Field, at time.Time) *structpb.Value {
	switch f.GetKind() {
	case configv1.FieldKind_FIELD_KIND_TEXT:
		return structpb.NewStringValue(sampleText(f))
	case configv1.FieldKind_FIELD_KIND_INTEGER, configv1.FieldKind_FIELD_KIND_NUMBER:
		return structpb.NewNumberValue(sampleNumber(f))
	case configv1.FieldKind_FIELD_KIND_BOOLEAN:
		return structpb.NewBoolValue(true)
	case configv1.FieldKind_FIELD_KIND_MONEY:
		return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"currencyCode": structpb.NewStringValue("EUR"), "units": structpb.NewStringValue("12"), "nanos": structpb.NewNumberValue(500_000_000),
		}})
	case configv1.FieldKind_FIELD_KIND_OBJECT:
		return structpb.NewStructValue(sampleOf(f.Inner, at))
	}
	return structpb.NewStringValue(at.Format(time.RFC3339Nano))
}

func sampleText(f *schema.Field) string {
	text := "sample"
	switch known, ok := sampleTexts[strings.ToLower(f.GetName())]; {
	case len(f.GetValues()) > 0:
		return f.GetValues()[0]
	case ok:
		text = known
	}
	if most := int(f.GetMaxLength()); most > 0 && len(text) > most {
		text = text[:most]
	}
	return text
}

// sampleNumber is 1, or the bound that is nearest.
func sampleNumber(f *schema.Field) float64 {
	n := 1.0
	if f.Minimum != nil {
		n = max(n, f.GetMinimum())
	}
	if f.Maximum != nil {
		n = min(n, f.GetMaximum())
	}
	if f.GetKind() == configv1.FieldKind_FIELD_KIND_INTEGER {
		if n = math.Ceil(n); f.Maximum != nil && n > f.GetMaximum() {
			n = math.Floor(f.GetMaximum())
		}
	}
	return n
}

// sampleMSISDN is of the numbers that Ofcom keeps for fiction.
const sampleMSISDN = "447700900123"

// sampleTexts are texts by the names of their fields.
var sampleTexts = map[string]string{
	"currency_code": "EUR", "currency": "EUR", "language": "en-GB", "email": "sample@example.com", "phone": sampleMSISDN,
	"imsi": "001010000000001", "imei": "490154203237518", "iccid": "8944000000000000001", "country": "GB", "time_zone": "Europe/London",
}

func fillSample(m protoreflect.Message, at time.Time, depth int) {
	if depth == 0 {
		return
	}
	fields := m.Descriptor().Fields()
	chosen := map[protoreflect.Name]bool{}
	for i := range fields.Len() {
		f := fields.Get(i)
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			if chosen[one.Name()] {
				continue
			}
			chosen[one.Name()] = true
		}
		switch {
		case f.IsMap():
		case f.IsList() && f.Message() != nil:
			list := m.Mutable(f).List()
			if known := sampleMessage(list.NewElement().Message(), at, depth); known != nil {
				list.Append(protoreflect.ValueOfMessage(known))
			}
		case f.IsList():
			m.Mutable(f).List().Append(sampleScalar(f))
		case f.Message() != nil:
			if known := sampleMessage(m.NewField(f).Message(), at, depth); known != nil {
				m.Set(f, protoreflect.ValueOfMessage(known))
			}
		default:
			m.Set(f, sampleScalar(f))
		}
	}
}

// sampleMessage fills an empty message; nil where nothing would be in it.
func sampleMessage(m protoreflect.Message, at time.Time, depth int) protoreflect.Message {
	switch m.Descriptor().FullName() {
	case timestampName:
		return timestamppb.New(at).ProtoReflect()
	case "google.protobuf.Duration":
		return durationpb.New(time.Minute).ProtoReflect()
	case moneyName:
		return (&money.Money{CurrencyCode: "EUR", Units: 12, Nanos: 500_000_000}).ProtoReflect()
	case structName, "google.protobuf.Any":
		return nil
	}
	if depth == 1 {
		return nil
	}
	fillSample(m, at, depth-1)
	return m
}

func sampleScalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		name := string(f.Name())
		if text, ok := sampleTexts[name]; ok {
			return protoreflect.ValueOfString(text)
		}
		if strings.Contains(name, "msisdn") {
			return protoreflect.ValueOfString(sampleMSISDN)
		}
		return protoreflect.ValueOfString("sample")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(min(1, f.Enum().Values().Len()-1)).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	}
	return f.Default()
}
