package template

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

const (
	// maxCased bounds a text that upper or lower changes, in bytes; casing is what they cost.
	maxCased = 64 << 10
	casing   = 50
	// escaping is what html/template takes for a value, formatting what a format takes.
	escaping   = 10
	formatting = 50
)

// functions are those of texts beside and, or, not and the comparisons of numbers.
var functions = template.FuncMap{
	"eq": func(a any, others ...any) bool {
		return slices.ContainsFunc(others, func(b any) bool { return comparable(a) == comparable(b) })
	},
	"ne":    func(a, b any) bool { return comparable(a) != comparable(b) },
	"upper": cased(strings.ToUpper),
	"lower": cased(strings.ToLower),
	// default is its first argument where the second is empty: {{.Option.Forecast | default "never"}}.
	"default": func(fallback, value any) string {
		if text := textOf(value); text != "" {
			return text
		}
		return textOf(fallback)
	},
	// money is an amount in the reader's language, with the symbol of its currency: {{.Invoice.Total | money}}. It never
	// rounds: decimals beyond those of the currency are shown.
	"money": Reader.money,
	// cut takes the decimals beyond those of the currency away, towards zero: {{.Option.Spent | cut | money}}.
	"cut": cutAmount,
	// date is a day in the reader's language: {{.Invoice.DueDate | date}}.
	"date": Reader.date,
	// datetime is a day and a time: {{.Event.Time | datetime}}.
	"datetime": Reader.datetime,
	// plural is the text of the number's category in the reader's language (CLDR): zero, one, two, few, many or other.
	// {{plural .BillRun.Accounts "one" "account" "other" "accounts"}}
	"plural": Reader.plural,
	linked:   escapeLink,
	quoted:   escapeJSON,
}

// What rewrite adds to the values of a link, and of JSON; signatures lacks them, so that no text can use them.
const (
	linked = "linked"
	quoted = "quoted"
)

// signature is what a check knows of a function.
type signature struct {
	cost      int
	localized bool
	// takes are its arguments, as the end of a sentence.
	takes  string
	yields func(args []Kind, nodes []parse.Node) (Kind, bool)
}

func fixed(yields Kind, takes ...func(Kind) bool) func([]Kind, []parse.Node) (Kind, bool) {
	return func(args []Kind, _ []parse.Node) (Kind, bool) {
		if len(args) != len(takes) {
			return Unknown, false
		}
		for i, takes := range takes {
			if !takes(args[i]) {
				return Unknown, false
			}
		}
		return yields, true
	}
}

func of(kinds ...Kind) func(Kind) bool { return func(k Kind) bool { return slices.Contains(kinds, k) } }

func anyKind(Kind) bool { return true }

// same reports that values can be compared: texts with texts, numbers with numbers.
func same(args []Kind) bool {
	return !slices.ContainsFunc(args, func(k Kind) bool {
		return !k.scalar() || k != args[0] && !(k.textual() && args[0].textual())
	})
}

// signatures are all functions that a text may use.
var signatures = map[string]signature{
	"and": {takes: "takes values of one kind", yields: oneOf},
	"or":  {takes: "takes values of one kind", yields: oneOf},
	"not": {takes: "takes one value", yields: fixed(Boolean, anyKind)},
	"eq": {takes: "compares values of one kind", yields: func(args []Kind, _ []parse.Node) (Kind, bool) {
		return Boolean, len(args) > 1 && same(args)
	}},
	"ne": {takes: "compares two values of one kind", yields: func(args []Kind, _ []parse.Node) (Kind, bool) {
		return Boolean, len(args) == 2 && same(args)
	}},
	"lt": numeric, "le": numeric, "gt": numeric, "ge": numeric,
	"upper":    {cost: casing, takes: "takes one text", yields: fixed(Text, Kind.textual)},
	"lower":    {cost: casing, takes: "takes one text", yields: fixed(Text, Kind.textual)},
	"default":  {takes: "takes a text to fall back to, and a text", yields: fixed(Text, Kind.textual, Kind.textual)},
	"money":    {cost: formatting, localized: true, takes: "takes one amount", yields: fixed(Text, of(Money))},
	"cut":      {cost: formatting, takes: "takes one amount", yields: fixed(Money, of(Money))},
	"date":     {cost: formatting, localized: true, takes: "takes one day or instant", yields: fixed(Text, of(Date, Moment))},
	"datetime": {cost: formatting, localized: true, takes: "takes one instant: a day has no time", yields: fixed(Text, of(Moment))},
	"plural": {
		cost: formatting, localized: true, yields: plural,
		takes: `takes a number and, in quotes, categories with their texts, "other" among them: plural .N "one" "invoice" "other" "invoices"`,
	},
}

var numeric = signature{takes: "compares two numbers", yields: fixed(Boolean, of(Number), of(Number))}

// oneOf yields one of its arguments.
func oneOf(args []Kind, _ []parse.Node) (Kind, bool) {
	if len(args) == 0 || !same(args) {
		return Unknown, false
	}
	// Of texts that differ in kind, no format fits them all.
	if slices.ContainsFunc(args, func(k Kind) bool { return k != args[0] }) {
		return Text, true
	}
	return args[0], true
}

// plural checks the categories, which are constants.
func plural(args []Kind, nodes []parse.Node) (Kind, bool) {
	if len(nodes) != len(args) || len(args) < 3 || len(args)%2 == 0 || args[0] != Number {
		return Unknown, false
	}
	seen := map[string]bool{}
	for i, n := range nodes[1:] {
		constant, ok := n.(*parse.StringNode)
		if !ok {
			return Unknown, false
		}
		if i%2 == 0 {
			if !slices.Contains(categories[:], constant.Text) || seen[constant.Text] {
				return Unknown, false
			}
			seen[constant.Text] = true
		}
	}
	return Text, seen["other"]
}

// cased lets a function change texts of bounded length.
func cased(change func(string) string) func(any) (string, error) {
	return func(v any) (string, error) {
		s := textOf(v)
		if len(s) > maxCased {
			return "", fmt.Errorf("%w: a text of %d bytes is to change its case, at most %d", ErrTooLarge, len(s), maxCased)
		}
		return change(s), nil
	}
}

// textOf is a value of a textual kind as it is printed.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case Amount:
		return v.String()
	case Instant:
		return string(v)
	case Day:
		return string(v)
	}
	return ""
}

// comparable is a value as eq and ne compare it.
func comparable(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case int64, bool:
		return v
	}
	return textOf(v)
}

// escapeLink percent-encodes all that is not unreserved (RFC 3986).
func escapeLink(v any) string {
	const hex = "0123456789ABCDEF"
	text := fmt.Sprint(v)
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		c := text[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			out = append(out, c)
			continue
		}
		out = append(out, '%', hex[c>>4], hex[c&15])
	}
	return string(out)
}

// escapeJSON escapes what a text of JSON does not take as it is (RFC 8259, section 7).
func escapeJSON(v any) string {
	const hex = "0123456789abcdef"
	text := strings.ToValidUTF8(fmt.Sprint(v), "\uFFFD")
	out := make([]byte, 0, len(text))
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
