package template

import "strings"

// Kind is what a token or an expression in a text yields.
type Kind uint8

// Kinds of values. The Go type of each stands beside it; a value that is absent is the type's zero.
const (
	// Unknown is already found to be wrong; nothing more is reported about it.
	Unknown Kind = iota
	Text         // string
	Number       // int64
	Boolean      // bool
	// List is of texts: []string.
	List
	Group // map[string]any, of tokens
	// Money is an Amount.
	Money
	// Moment is an Instant.
	Moment
	// Date is a Day.
	Date
)

// String is the kind in a sentence.
func (k Kind) String() string {
	return [...]string{
		Unknown: "unknown", Text: "a text", Number: "a number", Boolean: "true or false", List: "a list", Group: "a group of tokens",
		Money: "an amount", Moment: "an instant", Date: "a day",
	}[k]
}

// textual kinds are printed as they are and compared as texts.
func (k Kind) textual() bool { return k == Text || k == Money || k == Moment || k == Date }

func (k Kind) scalar() bool { return k.textual() || k == Number || k == Boolean }

// Zero is the value of an absent token.
func (k Kind) Zero() any {
	switch k {
	case Number:
		return int64(0)
	case Boolean:
		return false
	case List:
		return []string(nil)
	case Money:
		return Amount("")
	case Moment:
		return Instant("")
	case Date:
		return Day("")
	}
	return ""
}

// Amount is money: its currency, a blank, and a decimal such as "EUR 1234.50". It is printed without the currency.
type Amount string

// NewAmount is an amount of a currency; number is a decimal with at least the currency's digits.
func NewAmount(currency, number string) Amount {
	if number == "" {
		return ""
	}
	return Amount(currency + " " + number)
}

// split gives the parts of an amount.
func (a Amount) split() (currency, number string) {
	currency, number, _ = strings.Cut(string(a), " ")
	return currency, number
}

// String is the decimal.
func (a Amount) String() string {
	_, number := a.split()
	return number
}

// Instant is a moment in RFC 3339. It is printed so.
type Instant string

// Day is a day on a paper, such as a due date, as a moment of it in RFC 3339. It is printed so; date shows the day that it
// is in the tenant's zone, to everybody.
type Day string

// Shape is a token or a group of them, as a check sees it. It is never changed once it is made.
type Shape struct {
	// Path as a text writes it from the root, such as ".Invoice.Total"; empty for the root.
	Path string
	Kind Kind
	// Contact tokens are how to reach a person.
	Contact bool
	// Fields are those of a group.
	Fields map[string]*Shape
}

// zero are the values of an event that has none.
func (s *Shape) zero() any {
	if s.Kind != Group {
		return s.Kind.Zero()
	}
	values := make(map[string]any, len(s.Fields))
	for name, f := range s.Fields {
		values[name] = f.zero()
	}
	return values
}

// paths adds the paths of all tokens below a group, those of contacts where they may be used.
func (s *Shape) paths(contact bool, add func(path string)) {
	if s.Kind != Group {
		if contact || !s.Contact {
			add(s.Path)
		}
		return
	}
	for _, f := range s.Fields {
		f.paths(contact, add)
	}
}
