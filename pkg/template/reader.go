package template

import (
	"strings"
	"time"

	"github.com/bojanz/currency"
	"github.com/go-playground/locales"
)

// Reader is for whom a text is rendered. Two that are equal read the same text.
type Reader struct {
	// Language is a tag of BCP 47, such as "de-AT". One that is not known, and an empty one, is English.
	Language string
	// Zone is where instants are shown, nil for UTC.
	Zone *time.Location
	// Days is the tenant's zone, in which a day on a paper is meant; nil for UTC.
	Days *time.Location
}

// categories of numbers are those of CLDR, by the library's numbers.
var categories = [...]string{
	locales.PluralRuleZero: "zero", locales.PluralRuleOne: "one", locales.PluralRuleTwo: "two",
	locales.PluralRuleFew: "few", locales.PluralRuleMany: "many", locales.PluralRuleOther: "other",
}

// maxDecimals are those that an amount of the events may have.
const maxDecimals = 9

// money writes an amount: CLDR decides on point, comma, sign, symbol and their places.
func (r Reader) money(a Amount) string {
	code, number := a.split()
	if number == "" {
		return ""
	}
	amount, err := currency.NewAmount(number, code)
	if err != nil {
		// A code that is not assigned: the number and the code are all that is known.
		return strings.TrimSpace(number + "\u00a0" + code)
	}
	f := currency.NewFormatter(currency.NewLocale(r.tag()))
	f.MaxDigits = maxDecimals
	return f.Format(amount)
}

// cutAmount leaves the decimals of the currency.
func cutAmount(a Amount) Amount {
	code, number := a.split()
	digits, known := currency.GetDigits(code)
	whole, decimals, _ := strings.Cut(number, ".")
	if !known || len(decimals) <= int(digits) {
		return a
	}
	number = whole
	if digits > 0 {
		number += "." + decimals[:digits]
	}
	if strings.Trim(number, "-0.") == "" {
		number = strings.TrimPrefix(number, "-")
	}
	return NewAmount(code, number)
}

// date writes a day: one on a paper in the tenant's zone, an instant's in the reader's.
func (r Reader) date(v any) string {
	var at time.Time
	var ok bool
	switch v := v.(type) {
	case Day:
		at, ok = moment(string(v), r.Days)
	case Instant:
		at, ok = moment(string(v), r.Zone)
	}
	if !ok {
		return textOf(v)
	}
	return r.locale().FmtDateLong(at)
}

// datetime writes an instant in the reader's zone.
func (r Reader) datetime(v Instant) string {
	at, ok := moment(string(v), r.Zone)
	if !ok {
		return string(v)
	}
	l := r.locale()
	return l.FmtDateMedium(at) + between(l.Locale()) + l.FmtTimeShort(at)
}

// between parts a day and a time: CLDR has a blank in the languages that write no blanks, a comma in most others.
func between(locale string) string {
	switch locale[:2] {
	case "ja", "zh", "ko":
		return " "
	}
	return ", "
}

func moment(text string, in *time.Location) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, false
	}
	if in == nil {
		in = time.UTC
	}
	return at.In(in), true
}

// plural is the text of a number's category, that of "other" where it has none.
func (r Reader) plural(n any, pairs ...string) string {
	number, _ := comparable(n).(int64)
	category := "other"
	if rule := int(r.locale().CardinalPluralRule(float64(number), 0)); rule > 0 && rule < len(categories) {
		category = categories[rule]
	}
	other := ""
	for i := 0; i+1 < len(pairs); i += 2 {
		switch pairs[i] {
		case category:
			return pairs[i+1]
		case "other":
			other = pairs[i+1]
		}
	}
	return other
}
