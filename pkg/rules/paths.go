package rules

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/rules/kind"
)

// paths is one field, by the full name of the data's message.
type paths map[protoreflect.FullName][]protoreflect.FieldDescriptor

// compared compiles the field that a kind compares, and where it was before; it reports whether they are amounts.
func (c *compiling) compared(at, field, before string) (amount bool) {
	c.kind.Field = field
	if field == "" {
		c.f.Add(at+".field", `must not be empty, but a path such as "data.bucket.used"`)
	} else {
		c.value, amount = c.numbers(at+".field", field)
	}
	if before != "" {
		var other bool
		if c.before, other = c.numbers(at+".before", before); c.before != nil && c.value != nil && other != amount {
			c.f.Add(at+".before", "must be a number or an amount, as field is")
		}
	}
	return amount
}

// numbers compiles the path of a number or an amount; nil where it is none.
func (c *compiling) numbers(field, path string) (found paths, amount bool) {
	of := map[bool]string{}
	found = c.paths(field, path, "a number or an amount of money", func(f protoreflect.FieldDescriptor) bool {
		isAmount := f.Message() != nil && f.Message().FullName() == moneyName
		of[isAmount] = string(f.FullName())
		return isAmount || f.Message() == nil && isNumber(f.Kind())
	})
	if found != nil && len(of) > 1 {
		c.f.Add(field, "must be a number on all types of the trigger, or an amount: %s is an amount, %s is none", of[true], of[false])
		return nil, false
	}
	_, amount = of[true]
	return found, amount
}

func isNumber(k protoreflect.Kind) bool {
	switch k {
	case protoreflect.BoolKind, protoreflect.StringKind, protoreflect.BytesKind, protoreflect.EnumKind, protoreflect.MessageKind, protoreflect.GroupKind:
		return false
	}
	return true
}

// paths compiles a path for each message of the trigger's types; nil where one lacks it, or it is not what is wanted.
func (c *compiling) paths(field, path, wanted string, fits func(protoreflect.FieldDescriptor) bool) paths {
	if len(path) > maxPath {
		c.f.Add(field, "must be at most %d bytes", maxPath)
		return nil
	}
	found, right := paths{}, true
	for _, t := range c.types {
		message := messageOf(t)
		if _, done := found[message]; done {
			continue
		}
		steps, why := walk(t.Data.ProtoReflect().Descriptor(), path)
		switch {
		case why != "":
			c.f.Add(field, "for %s: %s", t.Name, why)
			right = false
		case steps[len(steps)-1].IsList() || steps[len(steps)-1].IsMap() || !fits(steps[len(steps)-1]):
			c.f.Add(field, "for %s: %s is not %s", t.Name, path, wanted)
			right = false
		}
		found[message] = steps
	}
	if !right {
		return nil
	}
	return found
}

// walk follows a path that begins with "data"; why is what is wrong with it.
func walk(in protoreflect.MessageDescriptor, path string) (steps []protoreflect.FieldDescriptor, why string) {
	first, rest, _ := strings.Cut(path, ".")
	if first != "data" || rest == "" {
		return nil, `must begin with "data.", such as "data.bucket.used"`
	}
	at := first
	for name := range strings.SplitSeq(rest, ".") {
		if n := len(steps); n > 0 && (steps[n-1].IsList() || steps[n-1].IsMap()) {
			return nil, at + " is a list and has no fields"
		}
		if in == nil {
			return nil, at + " has no fields"
		}
		f := in.Fields().ByName(protoreflect.Name(name))
		if f == nil {
			var names []string
			for i := range in.Fields().Len() {
				names = append(names, string(in.Fields().Get(i).Name()))
			}
			slices.Sort(names)
			return nil, at + " has no field " + strconv.Quote(short(name)) + ", but " + strings.Join(names, ", ")
		}
		steps, in, at = append(steps, f), f.Message(), at+"."+name
	}
	return steps, ""
}

// number is what stands at the end of a path; absent where it is not there.
func (p paths) number(data proto.Message) (kind.Number, error) {
	path := p[data.ProtoReflect().Descriptor().FullName()]
	if path == nil {
		return kind.Number{}, nil
	}
	v, ok := read(data, path)
	if !ok {
		return kind.Number{}, nil
	}
	switch v := v.(type) {
	case *money.Money:
		return kind.Amount(v.GetCurrencyCode(), v.GetUnits(), v.GetNanos())
	case float64:
		return kind.Float(v)
	case float32:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return kind.Float(f)
		}
		return kind.Parse(strconv.FormatFloat(float64(v), 'e', -1, 32))
	case int64:
		return kind.Int(v), nil
	case int32:
		return kind.Int(int64(v)), nil
	case uint32:
		return kind.Int(int64(v)), nil
	case uint64:
		return kind.Parse(strconv.FormatUint(v, 10))
	}
	return kind.Number{}, nil
}
