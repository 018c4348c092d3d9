package event

import (
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
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
	at = at.UTC().Truncate(time.Millisecond)
	e := &Event{ID: id, Source: sampleSource, Type: name, Tenant: tenant, Time: at, ReceivedAt: at, Subject: "sample/1"}
	if t.Subscriber {
		e.Subject = sampleMSISDN
	}
	data := t.Data.ProtoReflect().New()
	fillSample(data, at, sampleDepth)
	e.Data = data.Interface()
	return e, true
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
