// Package protobounds checks resources by the bounds that stand in their .proto, by protovalidate.
package protobounds

import (
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Bounds checks messages of some types.
type Bounds struct{ validator protovalidate.Validator }

// New compiles the bounds of types of messages, of which each is one.
func New(messages ...proto.Message) (Bounds, error) {
	v, err := protovalidate.New(protovalidate.WithMessages(messages...))
	if err != nil {
		return Bounds{}, fmt.Errorf("prepare the bounds of resources: %w", err)
	}
	return Bounds{v}, nil
}

// endless is how long a list is whose elements are not looked at any more.
const endless = 1000

// Exceeded are the fields that are larger than their .proto allows; long where one of them is an endless list.
func (b Bounds) Exceeded(r proto.Message) (fields []fault.Violation, long bool) {
	invalid, ok := errors.AsType[*protovalidate.ValidationError](b.validator.Validate(r))
	if !ok {
		return nil, false
	}
	for _, found := range invalid.Violations {
		rule := found.Proto.GetRuleId()
		text := found.Proto.GetMessage()
		if unit := map[string]string{"string.max_bytes": "bytes", "bytes.max_len": "bytes", "string.max_len": "characters", "repeated.max_items": "elements"}[rule]; unit != "" {
			text = fmt.Sprintf("must be at most %s %s", found.RuleValue.String(), unit)
		}
		fields = append(fields, fault.Violation{Field: protovalidate.FieldPathString(found.Proto.GetField()), Description: text})
		long = long || rule == "repeated.max_items" && found.FieldValue.List().Len() > endless
	}
	return fields, long
}

// Report adds them, but for those of which something is reported already.
func Report(f *fault.Violations, fields []fault.Violation) {
	reported := map[string]bool{}
	for _, known := range fault.ViolationsOf(f.Err("")) {
		reported[known.Field] = true
	}
	for _, v := range fields {
		if !reported[v.Field] {
			f.Add(v.Field, "%s", v.Description)
		}
	}
}
