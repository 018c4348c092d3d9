// Package query reads what a List asks for beside its parent: a filter of AIP-160, equality of fields and labels joined by AND, an
// order of AIP-132, and a page token, which is of one query.
package query

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/fault"
)

// Bounds of a query.
const (
	maxQuery = 1000 // bytes of a filter, and of an order
	maxTerms = 20
	maxOrder = 5
	// MaxToken is of what a page token holds, before it is encoded.
	MaxToken = 4 << 10
)

// Listing is what a List asks for.
type Listing struct {
	Parent, Token, Filter, OrderBy string
	Size                           int32
	Deleted                        bool
}

// Query is a listing that was read.
type Query struct {
	// of is the mark of everything but the page: a token is of one query.
	of    string
	terms []term
	order []ordering
	// after is where the page begins, and limit how many it has at most.
	after position
	limit int
}

// term is a field, or a label where it has a key, that must have a value.
type term struct {
	path []protoreflect.FieldDescriptor
	key  string
	want protoreflect.Value
}

// ordering is a field by which a list is ordered.
type ordering struct {
	path       []protoreflect.FieldDescriptor
	descending bool
}

// position is behind a resource of a list: its name, and the values of the fields of the order.
type position struct {
	Of     string   `json:"q"`
	Name   string   `json:"n"`
	Values []string `json:"v,omitempty"`
}

// Read reads what a listing asks for of resources of a message; what is wrong is added to f.
func Read(of protoreflect.MessageDescriptor, l Listing, f *fault.Violations) Query {
	var q Query
	if l.Size < 0 {
		f.Add("page_size", "must not be negative")
	}
	if q.limit = int(min(l.Size, LargestPage)); l.Size == 0 {
		q.limit = DefaultPage
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %q %q %q %t", of.Name(), l.Parent, l.Filter, l.OrderBy, l.Deleted))
	q.of = base64.RawURLEncoding.EncodeToString(sum[:9])
	q.terms = readFilter(l.Filter, of, f)
	q.order = readOrder(l.OrderBy, of, f)
	if l.Token == "" {
		return q
	}
	raw, err := base64.RawURLEncoding.DecodeString(l.Token)
	switch {
	case err != nil || len(raw) > MaxToken || json.Unmarshal(raw, &q.after) != nil || q.after.Name == "":
		f.Add("page_token", "must be the next_page_token of an answer")
	case q.after.Of != q.of || len(q.after.Values) != len(q.order):
		f.Add("page_token", "must be of the same query: parent, filter, order_by and show_deleted are those of the first page")
	}
	return q
}

// next is the token of the page behind a resource.
func (q *Query) next(name string, values []string) string {
	raw, err := json.Marshal(position{q.of, name, values})
	if err != nil {
		panic("encode page token: " + err.Error()) // texts alone
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// matches reports whether the filter holds.
func (q *Query) matches(r channel.Resource) bool {
	for _, t := range q.terms {
		v := valueAt(r, t.path)
		if t.key != "" {
			of := v.Map().Get(protoreflect.ValueOfString(t.key).MapKey())
			if !of.IsValid() || of.String() != t.want.String() {
				return false
			}
		} else if !v.Equal(t.want) {
			return false
		}
	}
	return true
}

// valueAt is the value at the end of a path; that of an absent message is the default.
func valueAt(r channel.Resource, path []protoreflect.FieldDescriptor) protoreflect.Value {
	m := r.ProtoReflect()
	for _, f := range path[:len(path)-1] {
		m = m.Get(f).Message()
	}
	return m.Get(path[len(path)-1])
}

const wantFilter = `must be field = value, or labels.key = value, joined by AND, such as: labels.team = "billing" AND active = true`

// readFilter reads a filter.
func readFilter(text string, of protoreflect.MessageDescriptor, f *fault.Violations) (terms []term) {
	if len(text) > maxQuery {
		f.Add("filter", "must be at most %d bytes", maxQuery)
		return nil
	}
	words, ok := lex(text)
	if !ok {
		f.Add("filter", wantFilter)
		return nil
	}
	for len(words) > 0 {
		if len(terms) > 0 && words[0] == (word{text: "AND"}) {
			words = words[1:]
		}
		if len(words) < 3 || words[1] != (word{text: "="}) || words[0].quoted || words[2] == (word{text: "="}) || len(terms) == maxTerms {
			f.Add("filter", wantFilter+"; at most %d", maxTerms)
			return nil
		}
		if t, why := termOf(words[0].text, words[2].text, of); why != "" {
			f.Add("filter", "%s", why)
		} else {
			terms = append(terms, t)
		}
		words = words[3:]
	}
	return terms
}

// word is one of a filter: a name, a value, AND or the sign of equality.
type word struct {
	text   string
	quoted bool
}

// lex parts a filter into words; not ok where a text does not end, or a sign is none of ours.
func lex(text string) (words []word, ok bool) {
	for text = strings.TrimLeft(text, " \t\n"); text != ""; text = strings.TrimLeft(text, " \t\n") {
		switch c := text[0]; {
		case c == '=':
			words, text = append(words, word{text: "="}), text[1:]
		case c == '"' || c == '\'':
			end := 1
			var b strings.Builder
			for ; end < len(text) && text[end] != c; end++ {
				if text[end] == '\\' && end+1 < len(text) {
					end++
				}
				b.WriteByte(text[end])
			}
			if end == len(text) {
				return nil, false
			}
			words, text = append(words, word{b.String(), true}), text[end+1:]
		default:
			n := strings.IndexAny(text, " \t\n=\"'()!<>:,")
			if n < 0 {
				n = len(text)
			}
			if n == 0 {
				return nil, false
			}
			words, text = append(words, word{text: text[:n]}), text[n:]
		}
	}
	return words, true
}

// Labels is the field that holds a resource's labels.
const Labels = "labels"

// termOf is a term, or why it is none.
func termOf(path, value string, of protoreflect.MessageDescriptor) (t term, why string) {
	if key, ok := strings.CutPrefix(path, Labels+"."); ok && key != "" {
		return term{[]protoreflect.FieldDescriptor{of.Fields().ByName(Labels)}, key, protoreflect.ValueOfString(value)}, ""
	}
	if t.path, why = walk(path, of); why != "" {
		return t, why
	}
	f := t.path[len(t.path)-1]
	var err error
	switch f.Kind() {
	case protoreflect.StringKind:
		t.want = protoreflect.ValueOfString(value)
	case protoreflect.BoolKind:
		t.want = protoreflect.ValueOfBool(value == "true")
		if value != "true" && value != "false" {
			why = "true or false"
		}
	case protoreflect.Int32Kind:
		var n int64
		n, err = strconv.ParseInt(value, 10, 32)
		t.want = protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		var n int64
		n, err = strconv.ParseInt(value, 10, 64)
		t.want = protoreflect.ValueOfInt64(n)
	case protoreflect.EnumKind:
		known := f.Enum().Values().ByName(protoreflect.Name(value))
		if known == nil {
			why = "one of " + strings.Join(enumNames(f.Enum()), ", ")
			break
		}
		t.want = protoreflect.ValueOfEnum(known.Number())
	default:
		return t, fmt.Sprintf("%s can't be compared: only texts, numbers, enums and true or false", cut(path))
	}
	if err != nil {
		why = "a whole number"
	}
	if why != "" {
		why = fmt.Sprintf("%s must be %s, is %q", cut(path), why, cut(value))
	}
	return t, why
}

func enumNames(of protoreflect.EnumDescriptor) []string {
	names := make([]string, of.Values().Len())
	for i := range names {
		names[i] = string(of.Values().Get(i).Name())
	}
	return names
}

// walk follows a path of fields to one that holds a single value.
func walk(path string, in protoreflect.MessageDescriptor) (steps []protoreflect.FieldDescriptor, why string) {
	for name := range strings.SplitSeq(path, ".") {
		if in == nil {
			return nil, fmt.Sprintf("%s has no field %q", steps[len(steps)-1].Name(), cut(name))
		}
		f := in.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			var names []string
			for i := range in.Fields().Len() {
				names = append(names, string(in.Fields().Get(i).Name()))
			}
			slices.Sort(names)
			return nil, fmt.Sprintf("%s has no field %q, but %s", in.Name(), cut(name), strings.Join(names, ", "))
		}
		if f.IsList() || f.IsMap() {
			return nil, fmt.Sprintf("%s is a list or a map, and no single value", cut(path))
		}
		steps, in = append(steps, f), f.Message()
	}
	return steps, ""
}

// readOrder reads an order: fields, each with "desc" behind it where it descends.
func readOrder(text string, of protoreflect.MessageDescriptor, f *fault.Violations) (order []ordering) {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	if len(text) > maxQuery || len(parts) > maxOrder {
		f.Add("order_by", "must be at most %d fields, %d bytes", maxOrder, maxQuery)
		return nil
	}
	for _, part := range parts {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(words) == 2 && words[1] != "asc" && words[1] != "desc" {
			f.Add("order_by", `must be fields, such as "metadata.update_time desc, name"`)
			return nil
		}
		path, why := walk(words[0], of)
		if why == "" && !sortable(path[len(path)-1]) {
			why = fmt.Sprintf("%s has no order", cut(words[0]))
		}
		if why != "" {
			f.Add("order_by", "%s", why)
			continue
		}
		order = append(order, ordering{path, len(words) == 2 && words[1] == "desc"})
	}
	return order
}

func sortable(f protoreflect.FieldDescriptor) bool {
	switch f.Kind() {
	case protoreflect.StringKind, protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.Int32Kind, protoreflect.Int64Kind:
		return true
	}
	return isTime(f)
}

// cut keeps a sentence short whatever was sent.
func cut(text string) string {
	const most = 100
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
