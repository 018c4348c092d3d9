package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
)

// Document is one resource as it was written.
type Document struct {
	Kind     string
	Resource Resource
	// File and Line are where it begins.
	File string
	Line int

	kind *kind
	root *yaml.Node
	// broken documents are read as far as they could be: others may name them.
	broken bool
}

// Violation is one thing that is wrong, and where.
type Violation struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Text string `json:"text"`
}

// Error is "file:line: text", as compilers have it.
func (f Violation) Error() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// Violations are all that is wrong.
type Violations []Violation

// Error has one line for each.
func (f Violations) Error() string {
	lines := make([]string, len(f))
	for i, one := range f {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Sorted is in the order of files and lines.
func (f Violations) Sorted() Violations {
	sorted := slices.Clone(f)
	slices.SortStableFunc(sorted, func(a, b Violation) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return sorted
}

func (f *Violations) add(file string, line int, format string, args ...any) {
	*f = append(*f, Violation{File: file, Line: line, Text: fmt.Sprintf(format, args...)})
}

// Read reads a file, or every .yaml and .yml file below a folder, in the order of their names. The error is Violations where
// the content is at fault; the documents come along with it, for Plan to find out what else is wrong.
func Read(path string) ([]Document, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = yamlFiles(path); err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("read resources: there is no .yaml file in %s", path)
		}
	}
	var all []Document
	var violations Violations
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		found, wrong := parse(file, content)
		all = append(all, found...)
		violations = append(violations, wrong...)
	}
	violations = append(violations, repeated(all)...)
	if len(violations) > 0 {
		return all, violations
	}
	return all, nil
}

// Parse is Read for content without a file; name is for messages.
func Parse(name string, content []byte) ([]Document, error) {
	all, violations := parse(name, content)
	violations = append(violations, repeated(all)...)
	if len(violations) > 0 {
		return all, violations
	}
	return all, nil
}

func yamlFiles(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := filepath.Ext(path); !entry.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, path)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

func parse(file string, content []byte) ([]Document, Violations) {
	var all []Document
	var violations Violations
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			return all, violations
		}
		if err != nil {
			// The reader cannot go on behind a syntax error.
			line, text := syntaxFault(err)
			violations.add(file, line, "%s", text)
			return all, violations
		}
		if len(root.Content) != 1 || isNull(root.Content[0]) {
			continue
		}
		d, wrong := document(file, root.Content[0])
		violations = append(violations, wrong...)
		if d.broken = len(wrong) > 0; d.kind != nil {
			all = append(all, d)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// syntaxFault takes the line out of the reader's sentence, "yaml: line 3: …"; it offers it no other way.
func syntaxFault(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "yaml: ")
	if _, scanErr := fmt.Sscanf(text, "line %d:", &line); scanErr == nil {
		_, text, _ = strings.Cut(text, ": ")
	}
	return line, text
}

func document(file string, root *yaml.Node) (Document, Violations) {
	var violations Violations
	d := Document{File: file, Line: root.Line, root: root}
	if root.Kind != yaml.MappingNode {
		violations.add(file, root.Line, "must be a resource: kind, name and its fields")
		return d, violations
	}
	fields, kindNode := withoutKind(root)
	switch {
	case kindNode == nil:
		violations.add(file, root.Line, "kind: is required, one of %s", kindNames())
		return d, violations
	case kindOf(kindNode.Value) == nil:
		violations.add(file, kindNode.Line, "kind: must be one of %s, not %q", kindNames(), kindNode.Value)
		return d, violations
	}
	d.Kind, d.kind = kindNode.Value, kindOf(kindNode.Value)
	d.Resource = d.kind.make()
	violations = append(violations, twice(file, fields, d.Resource.ProtoReflect().Descriptor())...)
	violations = append(violations, decode(file, fields, d.Resource)...)
	if len(violations) == 0 && d.Resource.GetName() == "" {
		violations.add(file, root.Line, "name: is required, such as %s", d.kind.example)
	}
	return d, violations
}

// withoutKind is the mapping as the message has it, and the value of kind, nil where there is none.
func withoutKind(root *yaml.Node) (fields, kindNode *yaml.Node) {
	rest := *root
	rest.Content = nil
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "kind" && kindNode == nil {
			kindNode = root.Content[i+1]
			continue
		}
		rest.Content = append(rest.Content, root.Content[i], root.Content[i+1])
	}
	return &rest, kindNode
}

// decode reads the node by way of the one hook that protoyaml has for nodes: as text again it would lose its lines.
func decode(file string, fields *yaml.Node, into proto.Message) Violations {
	var violations Violations
	err := protoyaml.UnmarshalOptions{
		Path:              file,
		CustomUnmarshaler: &instead{fields},
	}.Unmarshal([]byte(strings.Repeat("\n", lastLine(fields))+"{}"), into)
	for _, one := range flatten(err) {
		line := fields.Line
		text, _, _ := strings.Cut(one.Error(), "\n")
		text = strings.TrimPrefix(text, file+":")
		var column int
		if n, scanErr := fmt.Sscanf(text, "%d:%d", &line, &column); scanErr == nil && n == 2 {
			_, text, _ = strings.Cut(text, " ")
		}
		violations.add(file, line, "%s", text)
	}
	return violations
}

// instead replaces the node of the document that was read.
type instead struct{ node *yaml.Node }

// Unmarshal changes the first node it is shown, and takes over nothing itself.
func (i *instead) Unmarshal(node *yaml.Node, _ proto.Message) (bool, error) {
	if i.node != nil {
		*node, i.node = *i.node, nil
	}
	return false, nil
}

func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

// repeated lists resources that are there twice: which one was meant?
func repeated(all []Document) Violations {
	var violations Violations
	first := map[string]Document{}
	for _, d := range all {
		if d.Resource.GetName() == "" {
			continue // listed already
		}
		if before, ok := first[d.Resource.GetName()]; ok {
			violations.add(d.File, d.Line, "name: %s is in %s:%d too", d.Resource.GetName(), before.File, before.Line)
			continue
		}
		first[d.Resource.GetName()] = d
	}
	return violations
}

// lineOf is the line of a field that the service named, such as "endpoint.secrets[1]": of the deepest part of the path
// that the document has.
func (d Document) lineOf(field string) int {
	node, line := d.root, d.Line
	for i, part := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if i == 0 && part == d.kind.field {
			continue
		}
		next, at := child(node, part)
		if next == nil {
			break
		}
		node, line = next, at
	}
	return line
}

func child(node *yaml.Node, part string) (*yaml.Node, int) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if key := node.Content[i]; snake(key.Value) == part {
				return node.Content[i+1], key.Line
			}
		}
	case yaml.SequenceNode:
		var index int
		if _, err := fmt.Sscanf(part, "%d", &index); err == nil && index >= 0 && index < len(node.Content) {
			return node.Content[index], node.Content[index].Line
		}
	}
	return nil, 0
}

// snake is the field's name in the message, whichever of its two spellings was written.
func snake(key string) string {
	var b strings.Builder
	for _, r := range key {
		if r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}
