package event

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Reasons are those of invalid events, a closed set for metrics. An event with violations of more than one has
// reason.EventInvalid.
func Reasons() []string {
	return []string{reason.EventInvalid, reason.Undecodable, reason.TooLarge, reason.UnknownType, reason.UnknownTenant,
		reason.UnknownData, reason.UnknownField, reason.TypeUnverified, reason.TypeReserved, reason.MediaTypeUnsupported, reason.AmountInvalid}
}

// What an event may have at most, in bytes.
const (
	// MaxBytes bounds an event, as it is received and as it is stored.
	MaxBytes       = 1 << 20
	MaxID          = 256
	MaxSource      = 512
	MaxType        = 128
	MaxTenant      = 64
	MaxSubject     = 256
	MaxCorrelation = 256
)

const tooLarge = "must be at most %d bytes, has %d"

// violations collects the violations of an event, and the one reason they share.
type violations struct {
	all    fault.Violations
	reason string
	fields []string
}

func (v *violations) add(code, field, format string, args ...any) {
	v.all.Add(field, format, args...)
	v.fields = append(v.fields, field)
	switch {
	case v.reason == "" || code == reason.MediaTypeUnsupported:
		v.reason = code
	case v.reason != code && v.reason != reason.MediaTypeUnsupported:
		v.reason = reason.EventInvalid
	}
}

func (v *violations) missing(field string) {
	if !v.names(field) {
		v.add(reason.EventInvalid, field, "is required")
	}
}

// names reports that field has a violation already: it is not missing as well.
func (v *violations) names(field string) bool { return slices.Contains(v.fields, field) }

func (v *violations) err() error { return v.all.Err(v.reason) }

// Validate is nil, or a fault of kind Invalid with every violation of the envelope and of the data. It checks what
// every event must have; which types a producer may publish is checked by the Parse functions, and whether usage can be
// counted is known only where the subscriber is.
func (e *Event) Validate() error {
	v := violations{}
	e.validate(&v)
	return v.err()
}

func (e *Event) validate(v *violations) {
	required(v, "id", e.ID, MaxID)
	required(v, "source", e.Source, MaxSource)
	required(v, "tenant", e.Tenant, MaxTenant)
	if strings.ContainsRune(e.Tenant, '/') {
		v.add(reason.EventInvalid, "tenant", "must not contain a slash")
	}
	optional(v, "correlation", e.Correlation, MaxCorrelation)
	if e.Time.IsZero() {
		v.missing("time")
	}
	if e.Data == nil {
		v.missing("data")
	}
	t := e.typ()
	switch {
	case e.Type == "":
		v.missing("type")
	case t == nil && IsControl(e.Type):
		// No type of the catalog, yet a record of the log.
	case t == nil:
		v.add(reason.UnknownType, "type", "%.200q is no known type", e.Type)
	}
	if e.Subject != "" && t != nil && t.Subscriber {
		checkMSISDN(v, "subject", e.Subject)
	} else if e.Subject != "" || t == nil || t.Queue == Unordered {
		optional(v, "subject", e.Subject, MaxSubject)
	} else if !v.names("subject") {
		v.add(reason.EventInvalid, "subject", "is required, because %s is ordered by it", e.Type)
	}
	if t != nil && e.Data != nil {
		t.validateData(v, e.Data)
	}
}

// checkMSISDN does not repeat what was sent: it may be a person's number.
func checkMSISDN(v *violations, field, s string) {
	if msisdn, ok := MSISDN(s); !ok || msisdn != s {
		v.add(reason.EventInvalid, field, FormMSISDN)
	}
}

func required(v *violations, field, s string, limit int) {
	if s == "" {
		v.missing(field)
		return
	}
	optional(v, field, s, limit)
}

func optional(v *violations, field, s string, limit int) {
	if len(s) > limit {
		v.add(reason.EventInvalid, field, "must be at most %d bytes, has %d", limit, len(s))
	}
	if !utf8.ValidString(s) {
		v.add(reason.EventInvalid, field, "must be UTF-8")
		return
	}
	if strings.IndexFunc(s, isControlCharacter) >= 0 {
		// They would break the headers of records and requests that the field is copied to.
		v.add(reason.EventInvalid, field, "must not contain control characters")
	}
}

// isControlCharacter is what CloudEvents keeps out of a text: control characters, and code points that are no
// characters.
func isControlCharacter(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

func (t *Type) validateData(v *violations, data proto.Message) {
	if byName[t.Name] == nil {
		return // a Struct, which declare has read
	}
	m := data.ProtoReflect()
	if m.Descriptor() != t.Data.ProtoReflect().Descriptor() {
		v.add(reason.EventInvalid, "data", "must be a %s, is a %s", t.Data.ProtoReflect().Descriptor().FullName(),
			m.Descriptor().FullName())
		return
	}
	if u, ok := data.(*eventv1.UsageCharged); ok {
		// Nearly every event is one: without reflection.
		checkMoney(v, "data.net", u.GetNet())
		checkMoney(v, "data.gross", u.GetGross())
		if u.GetNet() != nil && u.GetGross() != nil && u.GetNet().GetCurrencyCode() != u.GetGross().GetCurrencyCode() {
			v.add(reason.AmountInvalid, "data.gross.currency_code", "must be that of net, %.10q", u.GetNet().GetCurrencyCode())
		}
		if c := u.GetCorrects(); c != nil {
			required(v, "data.corrects.id", c.GetId(), MaxID)
			if c.GetTime() == nil {
				v.add(reason.EventInvalid, "data.corrects.time", "is required")
			}
		}
		if at := u.GetCorrects().GetTime(); at != nil {
			if _, ok := timeOf(at.GetSeconds(), at.GetNanos()); !ok {
				v.add(reason.EventInvalid, "data.corrects.time", timeRange)
			}
		}
		return
	}
	if d, ok := data.(*eventv1.SubscriberMsisdnChanged); ok {
		checkMSISDN(v, "data.new_msisdn", d.GetNewMsisdn())
	}
	checkFields(v, "data", m)
}

const (
	moneyName     protoreflect.FullName = "google.type.Money"
	timestampName protoreflect.FullName = "google.protobuf.Timestamp"
	structName    protoreflect.FullName = "google.protobuf.Struct"
)

// currencyField is the field of a message whose amounts are plain numbers.
const currencyField protoreflect.Name = "currency"

// checkFields validates every amount, currency and time in m, however deep.
func checkFields(v *violations, path string, m protoreflect.Message) {
	switch m.Descriptor().FullName() {
	case moneyName:
		if amount, ok := m.Interface().(*money.Money); ok {
			checkMoney(v, path, amount)
		}
		return
	case timestampName:
		fields := m.Descriptor().Fields()
		seconds, nanos := m.Get(fields.ByNumber(fieldSeconds)).Int(), m.Get(fields.ByNumber(fieldNanos)).Int()
		if _, ok := timeOf(seconds, int32(nanos)); !ok {
			v.add(reason.EventInvalid, path, timeRange)
		}
		return
	case structName:
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		at := path + "." + string(f.Name())
		switch {
		case f.Message() == nil:
			switch most := maximumOf(f); {
			case f.Name() == currencyField && f.Kind() == protoreflect.StringKind:
				checkCurrency(v, at, m.Get(f).String())
			case most > 0 && (m.Get(f).Int() < 1 || m.Get(f).Int() > int64(most)):
				v.add(reason.EventInvalid, at, "must be from 1 to %d, is %d", most, m.Get(f).Int())
			}
		case f.IsList():
			list := m.Get(f).List()
			for j := range list.Len() {
				checkFields(v, at+"["+strconv.Itoa(j)+"]", list.Get(j).Message())
			}
		case f.IsMap(): // of plain values only
		default:
			checkFields(v, at, m.Get(f).Message())
		}
	}
}

const nanosPerUnit = 1_000_000_000

// checkMoney asks that an amount is well formed and fits an int64 of billionths, which is what is counted with.
func checkMoney(v *violations, path string, m *money.Money) {
	if m == nil {
		return
	}
	units, nanos := m.GetUnits(), int64(m.GetNanos())
	switch {
	case nanos <= -nanosPerUnit || nanos >= nanosPerUnit:
		v.add(reason.AmountInvalid, path+".nanos", "must lie between -999,999,999 and 999,999,999")
	case units > 0 && nanos < 0 || units < 0 && nanos > 0:
		v.add(reason.AmountInvalid, path+".nanos", "must have the sign of units")
	case !fitsNanos(units, nanos):
		v.add(reason.AmountInvalid, path+".units", "must be an amount of at most %s either way", largest)
	}
	checkCurrency(v, path+".currency_code", m.GetCurrencyCode())
}

func checkCurrency(v *violations, path, code string) {
	if !IsCurrency(code) {
		v.add(reason.AmountInvalid, path, FormCurrency+", is %.10q", code)
	}
}

var largest = fmt.Sprintf("%d.%09d", int64(math.MaxInt64)/nanosPerUnit, int64(math.MaxInt64)%nanosPerUnit)

func fitsNanos(units, nanos int64) bool {
	const limit = math.MaxInt64 / nanosPerUnit
	if units > limit || units < -limit {
		return false
	}
	sum := units * nanosPerUnit
	return nanos <= 0 && sum >= math.MinInt64-nanos || nanos > 0 && sum <= math.MaxInt64-nanos
}
