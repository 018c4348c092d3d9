package event

import (
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protowire"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Fields of tollgate.event.v1.UsageCharged and google.type.Money, by number.
const (
	usageCategory protowire.Number = 1 + iota
	usageRoaming
	usageOutOfBundle
	usageThirdParty
	usageBlocked
	usageNet
	usageGross
	usageCorrects
	usageQuantity
	usageUnit
	usageVisitedCountry
	usageService
)

const (
	moneyCurrency protowire.Number = 1
	moneyUnits    protowire.Number = 2
	moneyNanos    protowire.Number = 3
)

// usageMemory is a usage event's data with its two amounts, in one piece of memory.
type usageMemory struct {
	usage      eventv1.UsageCharged
	net, gross money.Money
}

// decodeUsage reads the usual form of the one type that nearly every event has: no field unknown, no correction.
// Whatever is otherwise, faults included, it leaves to the generated decoder and answers nil. A field met twice counts
// as Protobuf has it: the last one of a plain value, both of an amount.
func decodeUsage(b []byte) *eventv1.UsageCharged {
	m := &usageMemory{}
	u := &m.usage
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || number > usageService {
			return nil
		}
		b = b[n:]
		if kind == protowire.VarintType {
			v, n := protowire.ConsumeVarint(b)
			if n < 0 || !setVarint(u, number, v) {
				return nil
			}
			b = b[n:]
			continue
		}
		if kind != protowire.BytesType {
			return nil
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		var ok bool
		switch number {
		case usageNet:
			u.Net, ok = &m.net, decodeMoney(&m.net, v)
		case usageGross:
			u.Gross, ok = &m.gross, decodeMoney(&m.gross, v)
		case usageUnit:
			u.Unit, ok = interned(v)
		case usageVisitedCountry:
			u.VisitedCountry, ok = interned(v)
		case usageService:
			u.Service, ok = interned(v)
		}
		if !ok {
			return nil
		}
	}
	return u
}

func setVarint(u *eventv1.UsageCharged, number protowire.Number, v uint64) bool {
	switch number {
	case usageCategory:
		u.Category = eventv1.UsageCharged_Category(int32(v))
	case usageRoaming:
		u.Roaming = v != 0
	case usageOutOfBundle:
		u.OutOfBundle = v != 0
	case usageThirdParty:
		u.ThirdParty = v != 0
	case usageBlocked:
		u.Blocked = v != 0
	case usageQuantity:
		u.Quantity = int64(v)
	default:
		return false
	}
	return true
}

// decodeMoney is false where m is not in its usual form.
func decodeMoney(m *money.Money, b []byte) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 || number > moneyNanos {
			return false
		}
		b = b[n:]
		switch {
		case number == moneyCurrency && kind == protowire.BytesType:
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return false
			}
			var ok bool
			if m.CurrencyCode, ok = interned(v); !ok {
				return false
			}
			b = b[n:]
		case number != moneyCurrency && kind == protowire.VarintType:
			v, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return false
			}
			if number == moneyUnits {
				m.Units = int64(v)
			} else {
				m.Nanos = int32(v)
			}
			b = b[n:]
		default:
			return false
		}
	}
	return true
}

// interned is b as a string, without memory of its own where it is one of the words in nearly every event;
// false where it is not UTF-8.
func interned(b []byte) (string, bool) {
	switch len(b) {
	case 0:
		return "", true
	case 2:
		if isUpper(b[0]) && isUpper(b[1]) {
			at := (int(b[0]-'A')*26 + int(b[1]-'A')) * 2
			return pairs[at : at+2], true
		}
	}
	if len(b) <= longestWord {
		if s, ok := words[string(b)]; ok {
			return s, true
		}
	}
	return string(b), utf8.Valid(b)
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }

// pairs are all pairs of capital letters, one behind the other: every code of a country.
var pairs = func() string {
	var b []byte
	for x := byte('A'); x <= 'Z'; x++ {
		for y := byte('A'); y <= 'Z'; y++ {
			b = append(b, x, y)
		}
	}
	return string(b)
}()

const longestWord = 7

// words are the units of usage, and currencies of countries with many subscribers.
var words = func() map[string]string {
	m := map[string]string{}
	for _, w := range []string{
		"byte", "second", "message",
		"AED", "ARS", "AUD", "BDT", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP",
		"HKD", "HUF",
		"IDR", "ILS", "INR", "ISK", "JPY", "KES", "KRW", "KWD", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN", "PHP",
		"PKR", "PLN",
		"QAR", "RON", "RSD", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR",
	} {
		m[w] = w
	}
	return m
}()
