package template

import (
	"fmt"
	"slices"
	"text/template/parse"
)

// check walks a text's parse tree with a list of what is allowed: tokens, if, with, range over a list, comparisons and
// our functions. What it passes ends, and fails at no event of the scope: that is the bound on what a text can cost.
type check struct {
	root    *Shape
	opts    Options
	cost    Cost
	ranging bool
	faults  []string
	missing []string // tokens that the scope lacks
}

func (c *check) add(format string, args ...any) Kind {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
	return Unknown
}

// spend counts steps.
func (c *check) spend(steps int) {
	if c.ranging {
		c.cost.Each += steps
	} else {
		c.cost.Once += steps
	}
}

func (c *check) list(l *parse.ListNode, dot *Shape) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		c.spend(1)
		switch n := n.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			if c.opts.Escape != Plain {
				c.spend(escaping)
			}
			switch s := c.pipe(n.Pipe, dot); s.Kind {
			case Group, List:
				c.add("%s is %s and can't be printed", n.Pipe, s.Kind)
			}
		case *parse.IfNode:
			c.pipe(n.Pipe, dot)
			c.list(n.List, dot)
			c.list(n.ElseList, dot)
		case *parse.WithNode:
			c.list(n.List, c.pipe(n.Pipe, dot))
			c.list(n.ElseList, dot)
		case *parse.RangeNode:
			c.over(n, dot)
		default:
			c.add("%s is not allowed: a template may use tokens, if, with and range", n)
		}
	}
}

// over checks a range: over a list, and not within another.
func (c *check) over(n *parse.RangeNode, dot *Shape) {
	if c.ranging {
		c.add("range within range is not allowed: %s", n.Pipe)
	}
	over := c.pipe(n.Pipe, dot)
	elem := &Shape{}
	switch over.Kind {
	case List:
		elem.Kind = Text
	case Unknown:
	default:
		c.add("range over %s: it is %s, not a list", n.Pipe, over.Kind)
	}
	before := c.ranging
	c.ranging = true
	c.list(n.List, elem)
	c.ranging = before
	c.list(n.ElseList, dot)
}

// pipe is the shape of what a pipeline yields.
func (c *check) pipe(p *parse.PipeNode, dot *Shape) *Shape {
	if len(p.Decl) > 0 {
		c.add("%s: variables are not allowed", p)
	}
	var last *Shape
	for _, cmd := range p.Cmds {
		c.spend(len(cmd.Args))
		last = c.command(cmd, dot, last)
	}
	return last
}

// command is the shape of one step of a pipeline; piped is what the step before yields, nil in the first.
func (c *check) command(cmd *parse.CommandNode, dot, piped *Shape) *Shape {
	if name, ok := cmd.Args[0].(*parse.IdentifierNode); ok {
		var args []Kind
		for _, a := range cmd.Args[1:] {
			args = append(args, c.value(a, dot).Kind)
		}
		if piped != nil {
			args = append(args, piped.Kind)
		}
		return &Shape{Kind: c.call(name.Ident, args, cmd.Args[1:])}
	}
	s := c.value(cmd.Args[0], dot)
	if len(cmd.Args) > 1 || piped != nil {
		c.add("%s takes no arguments", cmd.Args[0])
	}
	return s
}

// value is the shape of one operand.
func (c *check) value(n parse.Node, dot *Shape) *Shape {
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
		return &Shape{Kind: Text}
	case *parse.BoolNode:
		return &Shape{Kind: Boolean}
	case *parse.NumberNode:
		if n.IsInt {
			return &Shape{Kind: Number}
		}
		c.add("%s: only whole numbers are allowed", n)
	case *parse.PipeNode:
		return c.pipe(n, dot)
	case *parse.IdentifierNode:
		return &Shape{Kind: c.call(n.Ident, nil, nil)}
	default:
		c.add("%s is not allowed", n)
	}
	return &Shape{}
}

func (c *check) token(path []string, from *Shape) *Shape {
	s := from
	for _, name := range path {
		if s.Kind == Unknown {
			return s
		}
		next := s.Fields[name]
		if next == nil {
			c.missing = append(c.missing, s.Path+"."+name)
			return &Shape{}
		}
		s = next
	}
	if s.Contact && c.opts.NoContact != "" {
		c.add("CONTACT_TOKEN: %s %s", s.Path, c.opts.NoContact)
		return &Shape{}
	}
	return s
}

// call is the kind of what a function yields for arguments of these kinds; nodes are those that are not piped.
func (c *check) call(name string, args []Kind, nodes []parse.Node) Kind {
	known, ok := signatures[name]
	switch {
	case !ok:
		return c.add("function %q is not allowed", name)
	case slices.Contains(args, Unknown):
		return Unknown
	}
	c.spend(known.cost)
	yields, ok := known.yields(args, nodes)
	if !ok {
		return c.add("%s %s", name, known.takes)
	}
	return yields
}

// rewrite adds what a text needs when it is rendered: the reader before the arguments of functions that depend on it, and
// to values their escaping. It reports whether anything depends on the reader.
func rewrite(l *parse.ListNode, escape string) (localized bool) {
	if l == nil {
		return false
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			localized = rewritePipe(n.Pipe) || localized
			if escape != "" {
				n.Pipe.Cmds = append(n.Pipe.Cmds, command(n.Pipe, parse.NewIdentifier(escape).SetPos(n.Pos)))
			}
		case *parse.IfNode:
			localized = rewriteBranch(&n.BranchNode, escape) || localized
		case *parse.WithNode:
			localized = rewriteBranch(&n.BranchNode, escape) || localized
		case *parse.RangeNode:
			localized = rewriteBranch(&n.BranchNode, escape) || localized
		}
	}
	return localized
}

func rewriteBranch(n *parse.BranchNode, escape string) bool {
	condition, list, otherwise := rewritePipe(n.Pipe), rewrite(n.List, escape), rewrite(n.ElseList, escape)
	return condition || list || otherwise
}

func rewritePipe(p *parse.PipeNode) (localized bool) {
	for _, cmd := range p.Cmds {
		for _, a := range cmd.Args {
			if inner, ok := a.(*parse.PipeNode); ok {
				localized = rewritePipe(inner) || localized
			}
		}
		if name, ok := cmd.Args[0].(*parse.IdentifierNode); ok && signatures[name.Ident].localized {
			reader := &parse.VariableNode{NodeType: parse.NodeVariable, Pos: name.Pos, Ident: []string{"$", readerKey}}
			cmd.Args = slices.Insert(cmd.Args, 1, parse.Node(reader))
			localized = true
		}
	}
	return localized
}

func command(p *parse.PipeNode, args ...parse.Node) *parse.CommandNode {
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: p.Pos, Args: args}
}
