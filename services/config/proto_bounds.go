package config

import (
	"errors"
	"fmt"
	"sync"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
)

// validator checks resources by the bounds in their .proto; compiled once.
var validator = sync.OnceValues(func() (protovalidate.Validator, error) {
	var messages []proto.Message
	for _, k := range kinds {
		messages = append(messages, k.make())
	}
	v, err := protovalidate.New(protovalidate.WithMessages(messages...))
	if err != nil {
		return nil, fmt.Errorf("prepare the bounds of resources: %w", err)
	}
	return v, nil
})

// endless is how long a list is whose elements are not looked at any more.
const endless = 1000

// exceeded are the fields that are larger than their .proto allows; long where one of them is an endless list.
func exceeded(r proto.Message) (fields []fault.Violation, long bool, err error) {
	v, err := validator()
	if err != nil {
		return nil, false, err
	}
	invalid, ok := errors.AsType[*protovalidate.ValidationError](v.Validate(r))
	if !ok {
		return nil, false, nil
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
	return fields, long, nil
}

// reportTooLarge adds them, but for those of which something is reported already.
func reportTooLarge(f *fault.Violations, fields []fault.Violation) {
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
