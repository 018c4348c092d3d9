package template

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"

	"github.com/agnivade/levenshtein"

	"github.com/tollgate/tollgate/pkg/fault"
)

// Bounds of a text.
const (
	// MaxRendered is the most that one text may become, in bytes.
	MaxRendered = 256 << 10
	// MaxListed is how many elements a list may have that is ranged over.
	MaxListed = 1000
	// MaxSource bounds what a text may be written in, in bytes, where nothing less is set.
	MaxSource = 16 << 10
)

// ErrTooLarge is returned where a text would be larger than its bound.
var ErrTooLarge = errors.New("the body is larger than 256 KiB")

// Scope is a type of event: its name, and its tokens.
type Scope struct {
	Name string
	Root *Shape
}

// Escape is how values are escaped in a text.
type Escape uint8

const (
	// Plain texts hold values as they are.
	Plain Escape = iota
	// HTML is escaped by the place of a value: text, attribute, link. Comments are left out.
	HTML
	// URL is one link; values are percent-encoded in it.
	URL
	// JSON values are escaped as within a text of JSON, whose quotation marks the text writes.
	JSON
)

// escapes are the functions that rewrite adds to each value.
var escapes = [...]string{Plain: "", HTML: "", URL: linked, JSON: quoted}

// Options of a text.
type Options struct {
	Escape Escape
	// NoContact is why contact tokens must not be used, as the end of a sentence; empty where they may.
	NoContact string
	// Most bytes that it may be written in; 0 for MaxSource.
	Most int
}

// Template is a text that was checked. It is immutable and may be shared.
type Template struct {
	Cost Cost
	// html or text; neither where it renders nothing.
	html *template.Template
	text *texttemplate.Template
	// localized: it shows something by the reader.
	localized bool
}

// Cost is what rendering takes, in steps of up to 100 ns: once, and for each element of the list that is ranged over.
type Cost struct{ Once, Each int }

// Add adds another text's.
func (c *Cost) Add(o Cost) {
	c.Once += o.Once
	c.Each += o.Each
}

// templateName stands before the place in what is found wrong.
const templateName = "text"

// Compile parses a text and checks it against the tokens of every scope. It adds all that is wrong to f; then the result
// renders nothing.
func Compile(source string, scopes []Scope, opts Options, field string, f *fault.Violations) *Template {
	out := &Template{}
	if opts.Most == 0 {
		opts.Most = MaxSource
	}
	if len(source) > opts.Most {
		f.Add(field, "must be at most %d bytes", opts.Most)
		return out
	}
	parsed, err := texttemplate.New(templateName).Option("missingkey=error").Funcs(functions).Parse(source)
	if err != nil {
		f.Add(field, "%s", strings.TrimPrefix(err.Error(), "template: "))
		return out
	}
	for _, other := range parsed.Templates() {
		if other.Name() != templateName {
			f.Add(field, "must not define templates of its own")
		}
	}
	if parsed.Tree == nil {
		return out // nothing but definitions, or nothing at all
	}
	before := f.Len()
	out.Cost = checkAll(parsed.Root, scopes, opts, field, f)
	if f.Len() > before {
		return out
	}
	out.localized = rewrite(parsed.Root, escapes[opts.Escape])
	if opts.Escape != HTML {
		out.text = parsed
		return out
	}
	escaped, err := escape(parsed.Tree, scopes)
	if err != nil {
		f.Add(field, "%s", strings.TrimPrefix(err.Error(), "html/template:"))
		return out
	}
	out.html = escaped
	return out
}

// escape has html/template find the place of every value, which it does before it renders for the first time.
func escape(tree *parse.Tree, scopes []Scope) (*template.Template, error) {
	t, err := template.New(templateName).Option("missingkey=error").Funcs(functions).AddParseTree(templateName, tree)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the place
	}
	values := map[string]any{}
	if len(scopes) > 0 {
		values, _ = scopes[0].Root.zero().(map[string]any)
	}
	if err := t.Execute(io.Discard, with(values, Reader{})); err != nil {
		return nil, err //nolint:wrapcheck // it names the place
	}
	return t, nil
}

// Localized reports whether the text depends on the reader.
func (t *Template) Localized() bool { return t.localized }

// Execute renders the text for an event's tokens and a reader. The same arguments give the same text.
func (t *Template) Execute(values map[string]any, r Reader) (string, error) {
	if t.localized {
		values = with(values, r)
	}
	var out bounded
	var err error
	switch {
	case t.html != nil:
		err = t.html.Execute(&out, values)
	case t.text != nil:
		err = t.text.Execute(&out, values)
	}
	if err != nil {
		return "", err //nolint:wrapcheck // the caller names the text
	}
	return out.String(), nil
}

// readerKey is where functions find the reader. No token has such a name.
const readerKey = "\x00reader"

// with is values with a reader.
func with(values map[string]any, r Reader) map[string]any {
	out := maps.Clone(values)
	out[readerKey] = r
	return out
}

// bounded is a builder that refuses to grow past MaxRendered.
type bounded struct{ strings.Builder }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxRendered {
		return 0, ErrTooLarge
	}
	return b.Builder.Write(p)
}

// checkAll walks a text once for each scope.
func checkAll(root *parse.ListNode, scopes []Scope, opts Options, field string, f *fault.Violations) (cost Cost) {
	listed := map[string]bool{}
	lacking := map[string][]string{} // token -> scopes
	var missing []string             // tokens as they were met
	for _, s := range scopes {
		c := &check{root: s.Root, opts: opts}
		c.list(root, s.Root)
		cost = c.cost // of every scope the same
		for _, fault := range c.faults {
			if !listed[fault] {
				listed[fault] = true
				f.Add(field, "%s", fault)
			}
		}
		for _, name := range c.missing {
			if lacking[name] == nil {
				missing = append(missing, name)
			}
			if !slices.Contains(lacking[name], s.Name) {
				lacking[name] = append(lacking[name], s.Name)
			}
		}
	}
	for i, name := range missing {
		near := ""
		if i < maxNearest {
			near = nearest(name, scopes, opts.NoContact == "")
		}
		f.Add(field, "INVALID_TOKEN: %s does not exist for %s%s", name, strings.Join(lacking[name], ", "), near)
	}
	return cost
}

// maxNearest bounds the tokens for which the nearest that exists is looked for.
const maxNearest = 20

// nearest names the token that is spelt most alike of those that every scope has.
func nearest(missing string, scopes []Scope, contact bool) string {
	count := map[string]int{}
	for _, s := range scopes {
		s.Root.paths(contact, func(path string) { count[path]++ })
	}
	best, distance := "", 0
	for _, path := range slices.Sorted(maps.Keys(count)) {
		if d := editDistance(missing, path); count[path] == len(scopes) && (best == "" || d < distance) {
			best, distance = path, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(", the nearest that exists is %s", best)
}

// editDistance is the Levenshtein distance, in any case, of texts cut to 100 bytes: a missing name may be long.
func editDistance(a, b string) int {
	const most = 100
	return levenshtein.ComputeDistance(strings.ToLower(a[:min(len(a), most)]), strings.ToLower(b[:min(len(b), most)]))
}
