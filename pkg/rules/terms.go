package rules

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
)

// The rules of a type are found by a term of their filters: a field that must equal a constant, or begin with one. An event
// looks up its own value of each such field, so that rules of other values cost nothing. A rule whose filter has no term, or
// that an event cancels, is tried on every event.

// value of a field, as it is looked up: a text or a number.
type value struct {
	text   string
	number int64
}

// term is one of a filter, with the field found in the data of a message.
type term struct {
	expr.Term
	path string
	read func(e *event.Event) value
}

// envelopeTexts are the variables beside data that are texts.
var envelopeTexts = map[string]func(e *event.Event) string{
	"id":          func(e *event.Event) string { return e.ID },
	"source":      func(e *event.Event) string { return e.Source },
	"type":        func(e *event.Event) string { return e.Type },
	"tenant":      func(e *event.Event) string { return e.Tenant },
	"subject":     func(e *event.Event) string { return e.Subject },
	"correlation": func(e *event.Event) string { return e.Correlation },
}

// termsOf are the terms of a rule's filter over data of a message that can be looked up.
func termsOf(c candidate, data protoreflect.MessageDescriptor) []term {
	if !c.triggers || c.cancels {
		return nil
	}
	program := c.rule.filter[data.FullName()]
	if program == nil {
		return nil
	}
	var terms []term
	for _, t := range program.Terms() {
		if read := readerOf(t, data); read != nil {
			terms = append(terms, term{t, strings.Join(t.Path, "."), read})
		}
	}
	return terms
}

// readerOf reads the field of a term, nil where it is of another kind than the term's constants.
func readerOf(t expr.Term, data protoreflect.MessageDescriptor) func(e *event.Event) value {
	if len(t.Path) == 1 {
		text := envelopeTexts[t.Path[0]]
		if text == nil || len(t.Numbers) > 0 {
			return nil
		}
		return func(e *event.Event) value { return value{text: text(e)} }
	}
	steps, why := walk(data, strings.Join(t.Path, "."))
	if why != "" {
		return nil
	}
	last := steps[len(steps)-1]
	if last.IsList() || last.IsMap() {
		return nil
	}
	isText := last.Kind() == protoreflect.StringKind
	number := numberOf(last.Kind())
	if isText != (len(t.Texts) > 0) || !isText && number == nil {
		return nil
	}
	return func(e *event.Event) value {
		v := end(e.Fields(), steps)
		if isText {
			return value{text: v.String()}
		}
		return value{number: number(v)}
	}
}

// end is the value at the end of a path; what is absent reads as its default, as in a filter.
func end(data proto.Message, steps []protoreflect.FieldDescriptor) protoreflect.Value {
	m := data.ProtoReflect()
	for _, f := range steps[:len(steps)-1] {
		m = m.Get(f).Message()
	}
	return m.Get(steps[len(steps)-1])
}

func numberOf(k protoreflect.Kind) func(protoreflect.Value) int64 {
	switch k {
	case protoreflect.BoolKind:
		return func(v protoreflect.Value) int64 {
			if v.Bool() {
				return 1
			}
			return 0
		}
	case protoreflect.EnumKind:
		return func(v protoreflect.Value) int64 { return int64(v.Enum()) }
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind, protoreflect.Sfixed32Kind, protoreflect.Sfixed64Kind:
		return protoreflect.Value.Int
	}
	return nil
}

// finder finds candidates by their place among those of a type.
type finder struct {
	// always are tried on every event.
	always []int
	fields []*lookup
}

// lookup is one field, and the candidates by what it has to be.
type lookup struct {
	read     func(e *event.Event) value
	equal    map[value][]int
	prefixes map[string][]int
	// lengths are those of the prefixes, ascending.
	lengths []int
}

// bucket is what one term is found by.
type bucket struct {
	path   string
	prefix bool
	value
}

func (t term) buckets() []bucket {
	var all []bucket
	for _, text := range t.Texts {
		all = append(all, bucket{t.path, t.Prefix, value{text: text}})
	}
	for _, number := range t.Numbers {
		all = append(all, bucket{t.path, t.Prefix, value{number: number}})
	}
	slices.SortFunc(all, func(a, b bucket) int { return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.number, b.number)) })
	return slices.Compact(all)
}

// newFinder chooses for each candidate the term that is shared with the fewest others. A term that all share finds nothing
// better than all, and costs a look-up.
func newFinder(all []candidate, data protoreflect.MessageDescriptor) finder {
	terms := make([][]term, len(all))
	shared := map[bucket]int{}
	for i, c := range all {
		terms[i] = termsOf(c, data)
		for _, t := range terms[i] {
			for _, b := range t.buckets() {
				shared[b]++
			}
		}
	}
	var f finder
	byPath := map[string]*lookup{}
	for i, of := range terms {
		if len(of) == 0 {
			f.always = append(f.always, i)
			continue
		}
		best := slices.MinFunc(of, func(a, b term) int { return cmp.Compare(a.most(shared), b.most(shared)) })
		l := byPath[best.path]
		if l == nil {
			l = &lookup{read: best.read, equal: map[value][]int{}, prefixes: map[string][]int{}}
			byPath[best.path] = l
			f.fields = append(f.fields, l)
		}
		l.add(best, i)
	}
	return f
}

// most is how many share the most common value of a term.
func (t term) most(shared map[bucket]int) int {
	most := 0
	for _, b := range t.buckets() {
		most = max(most, shared[b])
	}
	return most
}

func (l *lookup) add(t term, place int) {
	for _, b := range t.buckets() {
		if !t.Prefix {
			l.equal[b.value] = append(l.equal[b.value], place)
			continue
		}
		l.prefixes[b.text] = append(l.prefixes[b.text], place)
		if i, known := slices.BinarySearch(l.lengths, len(b.text)); !known {
			l.lengths = slices.Insert(l.lengths, i, len(b.text))
		}
	}
}

// find appends the places of the candidates that an event may concern, ascending, each once.
func (f *finder) find(e *event.Event, places []int) []int {
	places = append(places, f.always...)
	for _, l := range f.fields {
		v := l.read(e)
		places = append(places, l.equal[v]...)
		for _, n := range l.lengths {
			if n > len(v.text) {
				break
			}
			places = append(places, l.prefixes[v.text[:n]]...)
		}
	}
	slices.Sort(places)
	return places
}
