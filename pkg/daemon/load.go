package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v4"

	"github.com/tollgate/tollgate/pkg/fault"
)

// envPrefix begins the variables that Load checks.
const envPrefix = "TOLLGATE_"

// Load fills cfg, which holds the defaults: the YAML file at path over them (none where path is empty), environ over
// that. The error joins every violation, one a line, those of the file with their line.
//
// Where a variable cannot be parsed, the value of the file stays.
func Load[C Configuration](path string, environ []string, cfg *C) error {
	var faults []error
	if path != "" {
		faults = append(faults, readFile(path, cfg)...)
	}
	faults = append(faults, readEnvironment(environ, cfg)...)
	faults = append(faults, flatten((*cfg).Frame().check())...)
	faults = append(faults, flatten((*cfg).Validate())...)
	return errors.Join(faults...)
}

func readFile[C Configuration](path string, cfg *C) []error {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return []error{fmt.Errorf("%s: there is no such file", path)}
	}
	if err != nil {
		return []error{fmt.Errorf("read configuration: %w", err)}
	}
	if strings.TrimSpace(stripComments(string(content))) == "" {
		return nil
	}
	// After an error the values before it are kept, so that they are validated too.
	err = yaml.Load(content, cfg, yaml.WithKnownFields(), yaml.WithUniqueKeys())
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &many):
		faults := make([]error, len(many.Errors))
		for i, e := range many.Errors {
			faults[i] = fmt.Errorf("%s:%d: %s", path, e.Mark.Line, plain(e.Message))
		}
		return faults
	case errors.As(err, &one):
		return []error{fmt.Errorf("%s:%d: %s", path, one.Mark.Line, plain(one.Message))}
	}
	return []error{fmt.Errorf("%s: %w", path, err)}
}

// stripComments removes lines that are only a comment; a file without other lines is an empty configuration, which the
// YAML reader would reject.
func stripComments(text string) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		return strings.HasPrefix(strings.TrimSpace(line), "#")
	})
	return strings.Join(lines, "\n")
}

// plain removes the name of the Go type from the YAML reader's error about an unknown field.
func plain(message string) string {
	if before, _, ok := strings.Cut(message, " not found in type "); ok {
		return before + " is not known"
	}
	return message
}

func readEnvironment[C Configuration](environ []string, cfg *C) []error {
	params, err := env.GetFieldParams(cfg)
	if err != nil {
		return []error{fmt.Errorf("read the names of environment variables: %w", err)}
	}
	known := map[string]bool{}
	for _, name := range Variables() {
		known[name] = true
	}
	for _, p := range params {
		known[p.Key] = true
	}
	variables := env.ToMap(environ)
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		if strings.HasPrefix(name, envPrefix) && !known[name] && !strings.HasPrefix(name, "TOLLGATE_TEST_") {
			faults = append(faults, fmt.Errorf("environment variable %s is not known%s", name, nearest(name, known)))
		}
	}
	err = env.ParseWithOptions(cfg, env.Options{Environment: variables})
	if all, ok := errors.AsType[env.AggregateError](err); ok {
		for _, e := range all.Errors {
			faults = append(faults, fmt.Errorf("environment: %w", named(e, reflect.TypeFor[C]())))
		}
	} else if err != nil {
		faults = append(faults, fmt.Errorf("environment: %w", err))
	}
	return faults
}

// named puts the variable's name before a value that could not be parsed; the library names only the Go field.
func named(err error, t reflect.Type) error {
	parse, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return err
	}
	if name := variableOf(t, parse.Name, parse.Type); name != "" {
		return fmt.Errorf("%s cannot be read: %w", name, parse.Err)
	}
	return err
}

// variableOf finds the variable declared by a field of that name and type, anywhere below t.
func variableOf(t reflect.Type, field string, fieldType reflect.Type) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if tag := f.Tag.Get("env"); tag != "" && f.Name == field && f.Type == fieldType {
			name, _, _ := strings.Cut(tag, ",")
			return name
		}
		if name := variableOf(f.Type, field, fieldType); name != "" {
			return name
		}
	}
	return ""
}

// nearest is ", did you mean …?" where a known name is at most two edits away.
func nearest(name string, known map[string]bool) string {
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if levenshtein.ComputeDistance(name, k) <= 2 {
			return ", did you mean " + k + "?"
		}
	}
	return ""
}

// flatten lists the parts of err: each violation of a fault, each part of a join.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	violations := fault.Listed(err)
	if len(violations) == 0 {
		return []error{err}
	}
	out := make([]error, len(violations))
	for i, v := range violations {
		out[i] = errors.New(v.String())
	}
	return out
}
