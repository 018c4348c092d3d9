package hook

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Paths are fields of a message by their names, each with all that is in it.
type Paths []string

// ParsePaths reads the paths of fields of a message, in either spelling of Protobuf's JSON, such as client.bill_day. The
// error lists every path that the message does not have.
func ParsePaths(paths []string, of protoreflect.MessageDescriptor) (Paths, error) {
	var out Paths
	var faults []error
	for _, path := range paths {
		read, err := parsePath(path, of)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		out = append(out, read)
	}
	return out, errors.Join(faults...)
}

func parsePath(path string, of protoreflect.MessageDescriptor) (string, error) {
	var out string
	names := strings.Split(path, ".")
	for i, name := range names {
		if of == nil {
			return "", fmt.Errorf("%.100q: %s has no fields", path, out)
		}
		if of.FullName() == structName {
			// Members without a schema: any.
			if rest := strings.Join(names[i:], "."); strings.Trim(rest, ".") == rest && rest != "" && !strings.Contains(rest, "..") {
				return join(out, rest), nil
			}
			return "", fmt.Errorf("%.100q: a name is missing", path)
		}
		f := of.Fields().ByJSONName(name)
		if f == nil {
			f = of.Fields().ByName(protoreflect.Name(name))
		}
		if f == nil {
			return "", fmt.Errorf("%.100q: %s has no field %.60q", path, of.Name(), name)
		}
		out, of = join(out, string(f.Name())), nil
		if Patched(f) && !f.IsList() {
			of = f.Message()
		}
	}
	if out == "" {
		return "", errors.New("a path must not be empty")
	}
	return out, nil
}

// Allow reports whether a field may be changed; every field may where there are no paths.
func (p Paths) Allow(path string) bool {
	for _, allowed := range p {
		if path == allowed || strings.HasPrefix(path, allowed+".") {
			return true
		}
	}
	return len(p) == 0
}

// Patched reports that the messages of a field are changed member by member; times and durations are texts.
func Patched(f protoreflect.FieldDescriptor) bool {
	if f.Message() == nil || f.IsMap() {
		return false
	}
	name := f.Message().FullName()
	return name == structName || !strings.HasPrefix(string(name), "google.protobuf.")
}

const structName protoreflect.FullName = "google.protobuf.Struct"

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
