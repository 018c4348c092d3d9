package reference

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/process"
)

// module is the path that packages of the repository begin with.
const module = "github.com/tollgate/tollgate/"

// Key is one value of a service's configuration.
type Key struct {
	// Path is the key in the YAML file, such as "kafka.prefix".
	Path     string
	Variable string
	Default  string
	Meaning  string
}

// Keys are the keys of a default configuration. The meaning is the comment of the field.
func Keys(root string, defaults any) ([]Key, error) {
	s := &structs{root: root, docs: map[string]map[string]string{}}
	return s.keys(reflect.ValueOf(defaults), "")
}

// Configuration is the page of the configuration files and variables of all services.
func Configuration(_ context.Context, root string) (string, error) {
	var b strings.Builder
	head(&b, "Configuration", `
A service reads one YAML file (`+"`-config FILE`"+`) over its defaults, and environment variables over that. Every key may be left out. A key
or a variable `+"`TOLLGATE_…`"+` that is not known is an error; all errors are reported at once. One environment may serve every process: a variable of
another service is no error. `+"`-check-config`"+` validates and starts nothing. Files with all defaults: [deploy/config](../../config).
A duration is such as `+"`30s`, `15m` or `24h`"+`. A list in a variable is separated by commas.
`)
	// Keys that several services have alike are listed once.
	var shared []Key
	seen := map[string][]string{}
	all := map[string][]Key{}
	for _, s := range process.Table {
		keys, err := Keys(root, s.Values())
		if err != nil {
			return "", fmt.Errorf("configuration of %s: %w", s.Name, err)
		}
		all[s.Name] = keys
		for _, k := range keys {
			id := k.Path + "\x00" + k.Default + "\x00" + k.Meaning
			if len(seen[id]) == 0 {
				shared = append(shared, k)
			}
			seen[id] = append(seen[id], s.Name)
		}
	}
	b.WriteString("\n## Keys of several services\n")
	var rows [][]string
	for _, k := range shared {
		if by := seen[k.Path+"\x00"+k.Default+"\x00"+k.Meaning]; len(by) > 1 {
			of := strings.Join(by, ", ")
			if len(by) == len(process.Table) {
				of = "all"
			}
			rows = append(rows, append(row(k), of))
		}
	}
	table(&b, []string{"key", "variable", "default", "meaning", "services"}, rows)
	for _, s := range process.Table {
		fmt.Fprintf(&b, "\n## %s\n", s.Name)
		rows = nil
		for _, k := range all[s.Name] {
			if len(seen[k.Path+"\x00"+k.Default+"\x00"+k.Meaning]) == 1 {
				rows = append(rows, row(k))
			}
		}
		table(&b, []string{"key", "variable", "default", "meaning"}, rows)
	}
	return b.String(), nil
}

func row(k Key) []string {
	return []string{code(k.Path), code(k.Variable), code(k.Default), plain(k.Meaning)}
}

// structs reads comments of fields out of the sources.
type structs struct {
	root string
	// docs are the comments of the fields of a struct, by package path and name.
	docs map[string]map[string]string
}

func (s *structs) keys(v reflect.Value, before string) ([]Key, error) {
	docs, err := s.docsOf(v.Type())
	if err != nil {
		return nil, err
	}
	var all []Key
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case options == "inline":
			inner, err := s.keys(v.Field(i), before)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
		case name == "":
			return nil, fmt.Errorf("field %s.%s has no key", v.Type(), field.Name)
		case field.Type.Kind() == reflect.Struct:
			inner, err := s.keys(v.Field(i), before+name+".")
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
		default:
			variable, _, _ := strings.Cut(field.Tag.Get("env"), ",")
			all = append(all, Key{before + name, variable, valueOf(v.Field(i)), keyed(docs[field.Name], v.Type())})
		}
	}
	return all, nil
}

// valueOf is a default as the YAML file has it; what is empty has none.
func valueOf(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case time.Duration:
		if value == 0 {
			return ""
		}
		text := value.String()
		for _, zero := range []string{"0s", "0m"} {
			if short := strings.TrimSuffix(text, zero); short != text && short != "" && strings.ContainsAny(short[len(short)-1:], "hm") {
				text = short
			}
		}
		return text
	case []string:
		return strings.Join(value, ",")
	case string:
		return value
	case int, int64, int32, bool:
		return fmt.Sprint(value)
	}
	return fmt.Sprint(v.Interface())
}

// capitalised are words that may be names of fields.
var capitalised = regexp.MustCompile(`\b[A-Z][A-Za-z]*\b`)

// keyed is a comment with the names of fields replaced by those of keys. A name that is an English word is one where the
// comment begins with it, as comments of Go do, or where it stands within a sentence.
func keyed(doc string, t reflect.Type) string {
	var b strings.Builder
	end := 0
	for _, at := range capitalised.FindAllStringIndex(doc, -1) {
		word := doc[at[0]:at[1]]
		before := strings.TrimSpace(doc[:at[0]])
		within := before != "" && !strings.ContainsAny(before[len(before)-1:], ".:;") && strings.ToUpper(word) != word
		f, ok := t.FieldByName(word)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		camel := strings.ContainsAny(word[1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && strings.ToUpper(word) != word
		if !ok || name == "" || name == "-" || before != "" && !within && !camel {
			continue
		}
		b.WriteString(doc[end:at[0]] + code(name))
		end = at[1]
	}
	return b.String() + doc[end:]
}

var errNoSource = errors.New("its source is not found")

// docsOf are the comments of a struct's fields; several fields may stand under one comment.
func (s *structs) docsOf(t reflect.Type) (map[string]string, error) {
	id := t.PkgPath() + "." + t.Name()
	if docs, ok := s.docs[id]; ok {
		return docs, nil
	}
	dir := filepath.Join(s.root, filepath.FromSlash(strings.TrimPrefix(t.PkgPath(), module)))
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if fields, ok := spec.Type.(*ast.StructType); ok {
				s.docs[t.PkgPath()+"."+spec.Name.Name] = fieldDocs(fields)
			}
			return true
		})
	}
	docs, ok := s.docs[id]
	if !ok {
		return nil, fmt.Errorf("struct %s: %w in %s", strconv.Quote(id), errNoSource, dir)
	}
	return docs, nil
}

func fieldDocs(fields *ast.StructType) map[string]string {
	docs := map[string]string{}
	last := ""
	for _, f := range fields.Fields.List {
		text := strings.TrimSpace(f.Doc.Text())
		for _, n := range f.Names {
			// "A and B: both or neither" stands before A and is of B too.
			if text == "" && slices.ContainsFunc(strings.Fields(last), func(w string) bool { return strings.Trim(w, ".,:") == n.Name }) {
				docs[n.Name] = last
				continue
			}
			docs[n.Name] = text
		}
		if text != "" {
			last = text
		}
	}
	return docs
}
