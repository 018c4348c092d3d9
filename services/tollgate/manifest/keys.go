package manifest

import (
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// twice lists the keys that are twice in one mapping, by either of the two spellings of a field: the reader would take the
// last, and the other may have been meant. message is nil in a map, where each spelling is a key of its own.
func twice(file string, node *yaml.Node, message protoreflect.MessageDescriptor) Violations {
	var violations Violations
	if node.Kind == yaml.SequenceNode {
		for _, element := range node.Content {
			violations = append(violations, twice(file, element, message)...)
		}
	}
	if node.Kind != yaml.MappingNode {
		return violations
	}
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		name, inner := fieldOf(message, key.Value)
		if line, ok := first[name]; ok {
			violations.add(file, key.Line, "%s: is in line %d too", name, line)
		} else {
			first[name] = key.Line
		}
		var below protoreflect.MessageDescriptor
		if inner != nil && !inner.IsMap() {
			below = inner.Message()
		}
		violations = append(violations, twice(file, value, below)...)
	}
	return violations
}

// fieldOf is the name of a field as its message has it, and the field; the key itself where there is none.
func fieldOf(message protoreflect.MessageDescriptor, key string) (string, protoreflect.FieldDescriptor) {
	if message == nil {
		return key, nil
	}
	f := message.Fields().ByName(protoreflect.Name(key))
	if f == nil {
		f = message.Fields().ByJSONName(key)
	}
	if f == nil {
		return key, nil
	}
	return string(f.Name()), f
}
