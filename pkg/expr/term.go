package expr

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Term is a condition without which an expression does not hold: a field is one of some constants, or begins with one.
type Term struct {
	// Path is a variable and fields within it: "data", "net", "currency_code".
	Path []string
	// Texts, or Numbers (of enums and truth values too), that the field may be; with Prefix what it may begin with.
	Texts   []string
	Numbers []int64
	Prefix  bool
}

// maxTermValues bounds what one term is looked up by.
const maxTermValues = 100

// Terms are those that an expression is a conjunction of, among others. Where one of them is false, the expression is false on
// every event, and fails on none: false absorbs an error of the others, and where evaluating those may exceed the limit, only
// the one that is evaluated first is a term.
func (p *Program) Terms() []Term { return p.terms }

func (p *Program) findTerms(checked *ast.AST) {
	for i, e := range conjuncts(checked.Expr(), nil) {
		if t, ok := termOf(checked, e); ok && (i == 0 || !p.counted) {
			p.terms = append(p.terms, t)
		}
	}
}

// conjuncts are the parts that all must hold, in the order in which they are evaluated.
func conjuncts(e ast.Expr, all []ast.Expr) []ast.Expr {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalAnd {
		for _, arg := range e.AsCall().Args() {
			all = conjuncts(arg, all)
		}
		return all
	}
	return append(all, e)
}

func termOf(checked *ast.AST, e ast.Expr) (t Term, ok bool) {
	if e.Kind() != ast.CallKind {
		return t, false
	}
	call := e.AsCall()
	args := call.Args()
	switch {
	case call.FunctionName() == operators.Equals && len(args) == 2:
		if t.Path, ok = pathOf(checked, args[0]); ok {
			return t, t.add(checked, args[1])
		}
		if t.Path, ok = pathOf(checked, args[1]); ok {
			return t, t.add(checked, args[0])
		}
	case call.FunctionName() == operators.In && len(args) == 2 && args[1].Kind() == ast.ListKind:
		list := args[1].AsList()
		if t.Path, ok = pathOf(checked, args[0]); !ok || list.Size() == 0 || list.Size() > maxTermValues || len(list.OptionalIndices()) > 0 {
			return t, false
		}
		for _, element := range list.Elements() {
			if !t.add(checked, element) {
				return t, false
			}
		}
		return t, len(t.Texts) == 0 || len(t.Numbers) == 0
	case call.FunctionName() == overloads.StartsWith && call.IsMemberFunction() && len(args) == 1:
		t.Prefix = true
		if t.Path, ok = pathOf(checked, call.Target()); ok {
			return t, t.add(checked, args[0]) && len(t.Texts) == 1
		}
	}
	return t, false
}

// add adds a constant; false where it is none.
func (t *Term) add(checked *ast.AST, e ast.Expr) bool {
	var value ref.Val
	if e.Kind() == ast.LiteralKind {
		value = e.AsLiteral()
	} else if r := checked.ReferenceMap()[e.ID()]; r != nil && r.Value != nil {
		value = r.Value // of an enum
	}
	switch v := value.(type) {
	case types.String:
		t.Texts = append(t.Texts, string(v))
	case types.Int:
		t.Numbers = append(t.Numbers, int64(v))
	case types.Bool:
		t.Numbers = append(t.Numbers, 0)
		if v {
			t.Numbers[len(t.Numbers)-1] = 1
		}
	default:
		return false
	}
	return true
}

// pathOf is a variable with fields of messages within it, whose types are known: reading it never fails.
func pathOf(checked *ast.AST, e ast.Expr) (path []string, ok bool) {
	if r := checked.ReferenceMap()[e.ID()]; r != nil && r.Value != nil {
		return nil, false
	}
	switch e.Kind() {
	case ast.IdentKind:
		return []string{e.AsIdent()}, true
	case ast.SelectKind:
		s := e.AsSelect()
		if s.IsTestOnly() || checked.GetType(s.Operand().ID()).Kind() != types.StructKind {
			return nil, false
		}
		path, ok = pathOf(checked, s.Operand())
		return append(path, s.FieldName()), ok
	}
	return nil, false
}
