package expr

import (
	"maps"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// guards rejects the reading of what may not be there, a key of a map such as a custom field, unless it is known to be there
// where it is read: has(data.custom_fields.plan) && data.custom_fields.plan == 'gold'. Without it the expression would fail
// on every event that lacks the key.
type guards struct{}

// Name of the validator.
func (guards) Name() string { return "tollgate.validator.guards" }

// Validate reports each such reading at its position.
func (guards) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	g := guarding{a, issues}
	g.check(a.Expr(), nil)
}

// there are the paths that are known to be there.
type there map[string]bool

func (t there) with(others ...there) there {
	all := maps.Clone(t)
	if all == nil {
		all = there{}
	}
	for _, o := range others {
		maps.Copy(all, o)
	}
	return all
}

type guarding struct {
	ast    *ast.AST
	issues *cel.Issues
}

// check walks an expression with what is known where it is evaluated. Both sides of && know what the other makes sure of: where
// that is false, the whole is, whatever the other fails with; likewise of ||.
func (g guarding) check(e ast.Expr, known there) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		g.check(s.Operand(), known)
		if path, ok := g.optional(e); ok && !s.IsTestOnly() && !known[path] {
			g.issues.ReportErrorAtID(e.ID(), "%s may not be there: write has(%s) && before it", path, path)
		}
	case ast.CallKind:
		g.call(e, known)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			g.check(element, known)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			g.check(entry.AsMapEntry().Key(), known)
			g.check(entry.AsMapEntry().Value(), known)
		}
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			g.check(field.AsStructField().Value(), known)
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			g.check(part, known)
		}
	}
}

func (g guarding) call(e ast.Expr, known there) {
	call := e.AsCall()
	args := call.Args()
	switch name := call.FunctionName(); {
	case name == operators.LogicalAnd && len(args) == 2:
		g.check(args[0], known.with(g.when(args[1], true)))
		g.check(args[1], known.with(g.when(args[0], true)))
		return
	case name == operators.LogicalOr && len(args) == 2:
		g.check(args[0], known.with(g.when(args[1], false)))
		g.check(args[1], known.with(g.when(args[0], false)))
		return
	case name == operators.Conditional && len(args) == 3:
		g.check(args[0], known)
		g.check(args[1], known.with(g.when(args[0], true)))
		g.check(args[2], known.with(g.when(args[0], false)))
		return
	}
	if call.IsMemberFunction() {
		g.check(call.Target(), known)
	}
	for _, arg := range args {
		g.check(arg, known)
	}
	if path, ok := g.optional(e); ok && !known[path] {
		g.issues.ReportErrorAtID(e.ID(), "%s may not be there: write %s in %s && before it", path, keyOfIndex(args[1]), pathText(args[0]))
	}
}

// when are the paths that are there where an expression is true, or false.
func (g guarding) when(e ast.Expr, holds bool) there {
	if e.Kind() == ast.SelectKind && e.AsSelect().IsTestOnly() && holds {
		return whole(pathText(e))
	}
	if e.Kind() != ast.CallKind {
		return nil
	}
	args := e.AsCall().Args()
	switch name := e.AsCall().FunctionName(); {
	case name == operators.LogicalNot && len(args) == 1:
		return g.when(args[0], !holds)
	case name == operators.LogicalAnd && holds, name == operators.LogicalOr && !holds:
		all := there{}
		for _, arg := range args {
			maps.Copy(all, g.when(arg, holds))
		}
		return all
	case name == operators.In && holds && len(args) == 2:
		if key, ok := literal(args[0]); ok && pathText(args[1]) != "" {
			return whole(pathText(args[1]) + "." + key)
		}
	}
	return nil
}

// whole is a path and those on the way to it.
func whole(path string) there {
	all := there{}
	for path != "" {
		all[path] = true
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return all
}

// optional is the path of a key of a map, or of a value that may be one.
func (g guarding) optional(e ast.Expr) (path string, ok bool) {
	operand := e
	switch e.Kind() {
	case ast.SelectKind:
		if r := g.ast.ReferenceMap()[e.ID()]; r != nil {
			return "", false // a name with dots
		}
		operand = e.AsSelect().Operand()
	case ast.CallKind:
		if e.AsCall().FunctionName() != operators.Index {
			return "", false
		}
		if operand = e.AsCall().Args()[0]; keyOfIndex(e.AsCall().Args()[1]) == "" {
			return "", false // an element of a list
		}
	}
	switch g.ast.GetType(operand.ID()).Kind() {
	case types.MapKind, types.DynKind:
		return pathText(e), true
	}
	return "", false
}

// pathText is a variable and names within it; what is no such path reads as "it".
func pathText(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		return pathText(e.AsSelect().Operand()) + "." + e.AsSelect().FieldName()
	case ast.CallKind:
		if e.AsCall().FunctionName() == operators.Index {
			if key, ok := literal(e.AsCall().Args()[1]); ok {
				return pathText(e.AsCall().Args()[0]) + "." + key
			}
		}
	}
	return "it"
}

// keyOfIndex is a constant text between brackets, as it is written; empty for any other.
func keyOfIndex(e ast.Expr) string {
	if key, ok := literal(e); ok {
		return "'" + key + "'"
	}
	return ""
}
