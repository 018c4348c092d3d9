package rules

import (
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// What is wrong with an expression is more use with what would be right: the fields that a message has, the values of an enum,
// the names that there are.

var (
	located   = regexp.MustCompile(`^(.*) \(line (\d+), column (\d+)\)$`)
	undefined = regexp.MustCompile(`^undefined field '(\w+)'$`)
)

// withWhatExists adds to an issue of an expression over data of a message what exists at its place.
func withWhatExists(issue, text string, data protoreflect.MessageDescriptor) string {
	parts := located.FindStringSubmatch(issue)
	if parts == nil {
		return issue
	}
	line, _ := strconv.Atoi(parts[2])
	column, _ := strconv.Atoi(parts[3])
	operand, next := around(text, line, column)
	switch found := undefined.FindStringSubmatch(parts[1]); {
	case found != nil:
		if _, why := walk(data, operand+"."+found[1]); why != "" && strings.HasPrefix(operand, "data") {
			return issue + ": " + why
		}
	case strings.HasPrefix(parts[1], "undeclared reference"):
		return issue + ": there are data, id, source, type, tenant, subject, correlation, time, received_at"
	case strings.Contains(parts[1], "does not support field selection"):
		enum := operand + "." + next
		if of, err := protoregistry.GlobalTypes.FindEnumByName(protoreflect.FullName("tollgate.event.v1." + enum)); err == nil {
			return issue + ": " + enum + " has " + valuesOf(of.Descriptor())
		}
	}
	return issue
}

func valuesOf(of protoreflect.EnumDescriptor) string {
	names := make([]string, of.Values().Len())
	for i := range names {
		names[i] = string(of.Values().Get(i).Name())
	}
	return strings.Join(names, ", ")
}

// around are the path before the point at a position, without blanks, and the name behind it.
func around(text string, line, column int) (path, next string) {
	lines := strings.Split(text, "\n")
	if line < 1 || line > len(lines) {
		return "", ""
	}
	last := []rune(lines[line-1])
	at := min(max(column-1, 0), len(last))
	before := strings.Join(append(lines[:line-1:line-1], string(last[:at])), "\n")
	begin := strings.LastIndexFunc(before, func(r rune) bool { return !strings.ContainsRune(". \t\r\n", r) && !isName(r) })
	next = strings.TrimLeft(string(last[at:]), ". ")
	if end := strings.IndexFunc(next, func(r rune) bool { return !isName(r) }); end >= 0 {
		next = next[:end]
	}
	return strings.Join(strings.Fields(before[begin+1:]), ""), next
}

func isName(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
