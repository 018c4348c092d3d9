package expr

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/parser"
)

// Part is a part of an expression, and what it evaluated to.
type Part struct {
	// Text is as written, in one line. Depth is how deep in the expression it stands, 0 for the whole.
	Text  string
	Depth int
	// Value is nil where the part was not evaluated; Err is why it could not be.
	Value ref.Val
	Err   error
	// Names are the variables and fields that it reads, such as "data.net.units".
	Names []string
}

// maxParts bounds the parts of one expression, which has at most MaxText bytes.
const maxParts = 200

// Parts evaluates an expression as a whole, each part of it: of and, or, not and conditions what they join, of everything
// else what it is called with. What the whole evaluates to, or why it can't be, is the first.
func Parts(env *cel.Env, text string, a cel.Activation) ([]Part, error) {
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("compile expression: %w", issues.Err())
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptTrackState, cel.OptExhaustiveEval), cel.CostLimit(10*Limit))
	if err != nil {
		return nil, fmt.Errorf("prepare expression: %w", err)
	}
	whole, details, failed := program.Eval(a)
	native := checked.NativeRep()
	x := parts{info: native.SourceInfo(), value: func(id int64) (ref.Val, bool) {
		if details == nil {
			return nil, false
		}
		return details.State().Value(id)
	}}
	x.visit(native.Expr(), 0)
	x.found[0].Value, x.found[0].Err = whole, failed
	if failed != nil {
		x.found[0].Value = nil
	}
	return x.found, nil
}

type parts struct {
	info  *ast.SourceInfo
	value func(int64) (ref.Val, bool)
	found []Part
}

// visit adds a part, and what it consists of.
func (x *parts) visit(e ast.Expr, depth int) {
	if len(x.found) == maxParts {
		return
	}
	x.add(e, depth)
	if e.Kind() != ast.CallKind {
		return
	}
	if operator := e.AsCall().FunctionName(); joins(operator) {
		for _, operand := range joined(e, operator) {
			x.visit(operand, depth+1)
		}
		return
	}
	for _, operand := range operands(e) {
		if operand.Kind() != ast.LiteralKind && len(x.found) < maxParts {
			x.add(operand, depth+1)
		}
	}
}

func joins(operator string) bool {
	switch operator {
	case operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional:
		return true
	}
	return false
}

// joined are the operands of an operator, those of a chain of ands or ors side by side.
func joined(e ast.Expr, operator string) []ast.Expr {
	var out []ast.Expr
	for _, operand := range e.AsCall().Args() {
		chained := operator == operators.LogicalAnd || operator == operators.LogicalOr
		if chained && operand.Kind() == ast.CallKind && operand.AsCall().FunctionName() == operator {
			out = append(out, joined(operand, operator)...)
			continue
		}
		out = append(out, operand)
	}
	return out
}

func operands(e ast.Expr) []ast.Expr {
	call := e.AsCall()
	if call.IsMemberFunction() {
		return append([]ast.Expr{call.Target()}, call.Args()...)
	}
	return call.Args()
}

func (x *parts) add(e ast.Expr, depth int) {
	text, err := parser.Unparse(e, x.info)
	if err != nil {
		text = "(a part that has no text)"
	}
	p := Part{Text: strings.Join(strings.Fields(text), " "), Depth: depth}
	if v, ok := x.value(e.ID()); ok {
		if types.IsUnknownOrError(v) {
			p.Err = fmt.Errorf("%v", v)
		} else {
			p.Value = v
		}
	}
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(inner ast.Expr) {
		if name := nameOf(inner); name != "" {
			p.Names = append(p.Names, name)
		}
	}))
	x.found = append(x.found, p)
}

// nameOf is the path that an identifier or a selection reads; empty of anything else.
func nameOf(e ast.Expr) string {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		if of := nameOf(e.AsSelect().Operand()); of != "" {
			return of + "." + e.AsSelect().FieldName()
		}
	}
	return ""
}
