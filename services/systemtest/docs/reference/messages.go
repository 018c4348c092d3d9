package reference

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"

	// Every package of ours is registered.
	_ "github.com/tollgate/tollgate/services/tollgate/cli"
)

// protoFiles are the registered files of Tollgate, by package and name.
func protoFiles() []protoreflect.FileDescriptor {
	var files []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(f.Package()), "tollgate.") {
			files = append(files, f)
		}
		return true
	})
	slices.SortFunc(files, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	return files
}

// protoPackages are the files of each package.
func protoPackages() (names []string, files map[string][]protoreflect.FileDescriptor) {
	files = map[string][]protoreflect.FileDescriptor{}
	for _, f := range protoFiles() {
		files[string(f.Package())] = append(files[string(f.Package())], f)
	}
	return slices.Sorted(maps.Keys(files)), files
}

// writer writes messages and enums of descriptors.
type writer struct {
	*strings.Builder
	comments map[string]string
	// page is where the descriptor of a full name is written: "" on this page, else a file beside it.
	page func(protoreflect.FullName) (string, bool)
}

// Anchor is the name of a heading, as GitHub makes it.
func Anchor(heading string) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(heading))
}

// link leads to a message or an enum where it is written, else it is its name.
func (w writer) link(d protoreflect.Descriptor) string {
	name := strings.TrimPrefix(string(d.FullName()), "tollgate.")
	if page, ok := w.page(d.FullName()); ok {
		return fmt.Sprintf("[`%s`](%s#%s)", name, page, Anchor(name))
	}
	return code(name)
}

func (w writer) fieldType(f protoreflect.FieldDescriptor) string {
	var name string
	switch {
	case f.IsMap():
		return "map of " + w.fieldType(f.MapKey()) + " to " + w.fieldType(f.MapValue())
	case f.Message() != nil:
		name = w.link(f.Message())
	case f.Enum() != nil:
		name = w.link(f.Enum())
	default:
		name = f.Kind().String()
	}
	switch {
	case f.IsList():
		return "list of " + name
	case f.HasOptionalKeyword():
		return name + ", optional"
	}
	return name
}

// message writes a message with its fields, and what is declared in it.
func (w writer) message(m protoreflect.MessageDescriptor) {
	if m.IsMapEntry() {
		return
	}
	fmt.Fprintf(w, "\n### %s\n", strings.TrimPrefix(string(m.FullName()), "tollgate."))
	if c := w.comments[string(m.FullName())]; c != "" {
		fmt.Fprintf(w, "\n%s\n", plain(c))
	}
	var rows [][]string
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		about := plain(w.comments[string(f.FullName())])
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			about = strings.TrimSpace("One of " + code(string(o.Name())) + ". " + about)
		}
		if bounds := validationOf(f); bounds != "" {
			about = strings.TrimSpace(about + " (" + bounds + ")")
		}
		if mark := markOf(f); mark != "" {
			about = strings.TrimSpace(about + " (" + mark + ")")
		}
		rows = append(rows, []string{code(string(f.Name())), w.fieldType(f), about})
	}
	table(w.Builder, []string{"field", "type", "meaning"}, rows)
	for i := range m.Enums().Len() {
		w.enum(m.Enums().Get(i))
	}
	for i := range m.Messages().Len() {
		w.message(m.Messages().Get(i))
	}
}

// enum writes the values of an enum.
func (w writer) enum(e protoreflect.EnumDescriptor) {
	fmt.Fprintf(w, "\n### %s\n", strings.TrimPrefix(string(e.FullName()), "tollgate."))
	if c := w.comments[string(e.FullName())]; c != "" {
		fmt.Fprintf(w, "\n%s\n", plain(c))
	}
	var rows [][]string
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		rows = append(rows, []string{code(string(v.Name())), fmt.Sprint(v.Number()), plain(w.comments[string(e.FullName())+"."+string(v.Name())])})
	}
	table(w.Builder, []string{"value", "number", "meaning"}, rows)
}

// validationOf is what protovalidate holds a field to, in a few words.
func validationOf(f protoreflect.FieldDescriptor) string {
	options := f.Options()
	if options == nil || !proto.HasExtension(options, validate.E_Field) {
		return ""
	}
	rules, ok := proto.GetExtension(options, validate.E_Field).(*validate.FieldRules)
	if !ok {
		return ""
	}
	var words []string
	var walk func(m protoreflect.Message, before string)
	walk = func(m protoreflect.Message, before string) {
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			name := strings.ReplaceAll(string(f.Name()), "_", " ")
			switch {
			case f.Message() != nil && !f.IsList() && name == "items":
				walk(v.Message(), "each: ")
			case f.Message() != nil && !f.IsList() && !f.IsMap():
				walk(v.Message(), before)
			default:
				words = append(words, fmt.Sprintf("%s%s %v", before, name, v))
			}
			return true
		})
	}
	walk(rules.ProtoReflect(), "")
	slices.Sort(words)
	return strings.Join(words, ", ")
}
