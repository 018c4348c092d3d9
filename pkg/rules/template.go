package rules

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
)

// templateName stands before the place in what text/template finds wrong.
const templateName = "text"

// parameter is a name and its parsed text.
type parameter struct {
	name string
	text *template.Template
	cost templateCost
}

// templateCost is what rendering takes, in steps of up to 100 ns: once, and for each element of the list that is ranged over.
type templateCost struct{ once, each int }

const (
	// maxRendering bounds the parameters of one action, in steps where lists have 100 elements.
	maxRendering = 100_000
	// maxListed is how many elements a list may have that is ranged over.
	maxListed = 1000
	// maxCased bounds a text that upper or lower changes, in bytes; casing is what they cost.
	maxCased = 64 << 10
	casing   = 50
)

// cased lets a function change texts of bounded length.
func cased(change func(string) string) func(string) (string, error) {
	return func(s string) (string, error) {
		if len(s) > maxCased {
			return "", fmt.Errorf("%w: a text of %d bytes is to change its case, at most %d", channel.ErrTooLarge, len(s), maxCased)
		}
		return change(s), nil
	}
}

// functions are those of templates beside the comparisons of text/template.
var functions = template.FuncMap{
	"upper": cased(strings.ToUpper),
	"lower": cased(strings.ToLower),
	// default is its first argument where the second is empty: {{.Option.Forecast | default "never"}}.
	"default": func(fallback, value string) string {
		if value == "" {
			return fallback
		}
		return value
	},
}

// compileParameter parses a text and checks it against the tokens of every type.
func compileParameter(p Parameter, types []event.Type, to *channel.Channel, field string, f *fault.Violations) parameter {
	if len(p.Template) > maxTemplate {
		f.Add(field, "must be at most %d bytes", maxTemplate)
		return parameter{name: p.Name}
	}
	t, err := template.New(templateName).Option("missingkey=error").Funcs(functions).Parse(p.Template)
	if err != nil {
		f.Add(field, "%s", strings.TrimPrefix(err.Error(), "template: "))
		return parameter{name: p.Name}
	}
	out := parameter{name: p.Name, text: t}
	for _, other := range t.Templates() {
		if other.Name() != templateName {
			f.Add(field, "must not define templates of its own")
		}
	}
	if t.Tree == nil {
		return out // nothing but definitions, or nothing at all
	}

	listed := map[string]bool{}
	lacking := map[string][]string{} // token -> types
	var missing []string             // tokens as they were met
	for _, typ := range types {
		c := &check{root: shapes()[typ.Name], channel: to}
		c.list(t.Root, c.root)
		out.cost = c.cost // of every type the same
		for _, s := range c.faults {
			if !listed[s] {
				listed[s] = true
				f.Add(field, "%s", s)
			}
		}
		for _, name := range c.missing {
			if lacking[name] == nil {
				missing = append(missing, name)
			}
			if !slices.Contains(lacking[name], typ.Name) {
				lacking[name] = append(lacking[name], typ.Name)
			}
		}
	}
	for _, name := range missing {
		f.Add(field, "INVALID_TOKEN: %s does not exist for %s", name, strings.Join(lacking[name], ", "))
	}
	return out
}

// check walks a template's parse tree with a list of what is allowed: tokens, if, with, range over a list, comparisons
// and our functions. What it passes ends, and fails at no event of the type: that is the bound on what a text can cost.
type check struct {
	root *shape
	// channel that the text is for; nil where it is not known.
	channel *channel.Channel
	cost    templateCost
	ranging bool
	faults  []string
	missing []string // tokens that the type lacks
}

func (c *check) add(format string, args ...any) kind {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
	return unknown
}

// spend counts steps.
func (c *check) spend(steps int) {
	if c.ranging {
		c.cost.each += steps
	} else {
		c.cost.once += steps
	}
}

func (c *check) list(l *parse.ListNode, dot *shape) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		c.spend(1)
		switch n := n.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			switch s := c.pipe(n.Pipe, dot); s.kind {
			case group, list:
				c.add("%s is %s and can't be printed", n.Pipe, s.kind)
			}
		case *parse.IfNode:
			c.pipe(n.Pipe, dot)
			c.list(n.List, dot)
			c.list(n.ElseList, dot)
		case *parse.WithNode:
			c.list(n.List, c.pipe(n.Pipe, dot))
			c.list(n.ElseList, dot)
		case *parse.RangeNode:
			if c.ranging {
				c.add("range within range is not allowed: %s", n.Pipe)
			}
			over := c.pipe(n.Pipe, dot)
			elem := &shape{}
			switch over.kind {
			case list:
				elem.kind = text
			case unknown:
			default:
				c.add("range over %s: it is %s, not a list", n.Pipe, over.kind)
			}
			before := c.ranging
			c.ranging = true
			c.list(n.List, elem)
			c.ranging = before
			c.list(n.ElseList, dot)
		default:
			c.add("%s is not allowed: a template may use tokens, if, with and range", n)
		}
	}
}

// pipe is the shape of what a pipeline yields.
func (c *check) pipe(p *parse.PipeNode, dot *shape) *shape {
	if len(p.Decl) > 0 {
		c.add("%s: variables are not allowed", p)
	}
	var last *shape
	for _, cmd := range p.Cmds {
		c.spend(len(cmd.Args))
		last = c.command(cmd, dot, last)
	}
	return last
}

// command is the shape of one step of a pipeline; piped is what the step before yields, nil in the first.
func (c *check) command(cmd *parse.CommandNode, dot, piped *shape) *shape {
	if name, ok := cmd.Args[0].(*parse.IdentifierNode); ok {
		var args []kind
		for _, a := range cmd.Args[1:] {
			args = append(args, c.value(a, dot).kind)
		}
		if piped != nil {
			args = append(args, piped.kind)
		}
		return &shape{kind: c.call(name.Ident, args)}
	}
	s := c.value(cmd.Args[0], dot)
	if len(cmd.Args) > 1 || piped != nil {
		c.add("%s takes no arguments", cmd.Args[0])
	}
	return s
}

// value is the shape of one operand.
func (c *check) value(n parse.Node, dot *shape) *shape {
	switch n := n.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		return c.token(n.Ident, dot)
	case *parse.VariableNode:
		if n.Ident[0] == "$" {
			return c.token(n.Ident[1:], c.root)
		}
		c.add("%s: variables are not allowed", n)
	case *parse.StringNode:
		return &shape{kind: text}
	case *parse.BoolNode:
		return &shape{kind: boolean}
	case *parse.NumberNode:
		if n.IsInt {
			return &shape{kind: number}
		}
		c.add("%s: only whole numbers are allowed", n)
	case *parse.PipeNode:
		return c.pipe(n, dot)
	case *parse.IdentifierNode:
		return &shape{kind: c.call(n.Ident, nil)}
	default:
		c.add("%s is not allowed", n)
	}
	return &shape{}
}

func (c *check) token(path []string, from *shape) *shape {
	s := from
	for _, name := range path {
		if s.kind == unknown {
			return s
		}
		next := s.fields[name]
		if next == nil {
			c.missing = append(c.missing, s.path+"."+name)
			return &shape{}
		}
		s = next
	}
	if s.audience == channel.Contact && c.channel != nil && c.channel.NoContact != "" {
		c.add("CONTACT_TOKEN: %s %s", s.path, c.channel.NoContact)
		return &shape{}
	}
	return s
}

// call is the kind of what a function yields for arguments of these kinds.
func (c *check) call(name string, args []kind) kind {
	if slices.Contains(args, unknown) {
		return unknown
	}
	scalar := func(k kind) bool { return k == text || k == number || k == boolean }
	same := func() bool {
		return !slices.ContainsFunc(args, func(k kind) bool { return k != args[0] || !scalar(k) })
	}
	switch name {
	case "and", "or":
		if len(args) == 0 || !same() {
			return c.add("%s takes values of one kind", name)
		}
		return args[0]
	case "not":
		if len(args) != 1 {
			return c.add("not takes one value")
		}
		return boolean
	case "eq":
		if len(args) < 2 || !same() {
			return c.add("eq compares values of one kind")
		}
		return boolean
	case "ne":
		if len(args) != 2 || !same() {
			return c.add("ne compares two values of one kind")
		}
		return boolean
	case "lt", "le", "gt", "ge":
		if len(args) != 2 || args[0] != number || args[1] != number {
			return c.add("%s compares two numbers", name)
		}
		return boolean
	case "upper", "lower":
		c.spend(casing)
		if len(args) != 1 || args[0] != text {
			return c.add("%s takes one text", name)
		}
		return text
	case "default":
		if len(args) != 2 || args[0] != text || args[1] != text {
			return c.add("default takes a text to fall back to, and a text")
		}
		return text
	}
	return c.add("function %q is not allowed", name)
}
