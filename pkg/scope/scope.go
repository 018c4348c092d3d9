package scope

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/tollgate/tollgate/pkg/expr"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Scope is a compiled expression.
type Scope struct {
	program *expr.Program
	// table answers for usage of known categories where the expression reads nothing but category and marks: one bit
	// for each of their combinations. Most expressions do, and an evaluation costs as much as the rest of counting.
	table   uint64
	tabular bool
}

// Compile compiles an expression. The error is a fault of kind Invalid with every violation.
func Compile(text string) (*Scope, error) {
	var f fault.Violations
	env, err := environment()
	if err != nil {
		return nil, err
	}
	program, checked, faults := expr.Compile(env, text)
	for _, text := range faults {
		f.Add("", "%s", text)
	}
	if err := f.Err(reason.ScopeInvalid); err != nil {
		return nil, err
	}
	s := &Scope{program: program}
	if readsMarksOnly(checked) {
		s.tabulate()
	}
	return s, nil
}

// Holds reports whether the usage counts. An error is the expression's own, such as a division by zero.
func (s *Scope) Holds(u *eventv1.UsageCharged) (bool, error) {
	if s.tabular {
		if c := u.GetCategory(); c >= 0 && c < categories {
			return s.table>>slot(c, u.GetRoaming(), u.GetOutOfBundle(), u.GetThirdParty())&1 == 1, nil
		}
	}
	return s.evaluate(u)
}

func (s *Scope) evaluate(u *eventv1.UsageCharged) (bool, error) {
	holds, _, err := s.program.Holds(&activation{u})
	if err != nil {
		return false, fmt.Errorf("evaluate scope: %w", err)
	}
	return holds, nil
}

// categories is one more than the highest category there is.
const categories = eventv1.UsageCharged_CATEGORY_CONTENT + 1

// slot is the bit of a combination in the table: 6 categories with 3 marks take 48 of its 64 bits.
func slot(c eventv1.UsageCharged_Category, roaming, outOfBundle, thirdParty bool) uint {
	i := uint(c) << 3
	for bit, mark := range [...]bool{roaming, outOfBundle, thirdParty} {
		if mark {
			i |= 1 << bit
		}
	}
	return i
}

// tabulate evaluates every combination once. An expression that fails for one of them gets no table: its error is
// returned by Holds.
func (s *Scope) tabulate() {
	var table uint64
	for c := range categories {
		for marks := range 8 {
			u := &eventv1.UsageCharged{Category: c, Roaming: marks&1 != 0, OutOfBundle: marks&2 != 0, ThirdParty: marks&4 != 0}
			holds, err := s.evaluate(u)
			if err != nil {
				return
			}
			if holds {
				table |= 1 << slot(c, u.GetRoaming(), u.GetOutOfBundle(), u.GetThirdParty())
			}
		}
	}
	s.table, s.tabular = table, true
}

// readsMarksOnly reports that an expression reads only the fields of the table.
func readsMarksOnly(checked *cel.Ast) bool {
	mentions, covered := 0, 0
	isUsage := func(e ast.Expr) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == variable }
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case isUsage(e):
			mentions++
		case e.Kind() == ast.SelectKind && isUsage(e.AsSelect().Operand()):
			switch e.AsSelect().FieldName() {
			case "category", "roaming", "out_of_bundle", "third_party":
				covered++
			}
		}
	}))
	return mentions == covered
}

const variable = "usage"

var environment = sync.OnceValues(func() (*cel.Env, error) {
	message := &eventv1.UsageCharged{}
	options := []cel.EnvOption{
		cel.Types(message),
		cel.Variable(variable, cel.ObjectType(string(message.ProtoReflect().Descriptor().FullName()))),
	}
	for name, number := range eventv1.UsageCharged_Category_value {
		if number != 0 {
			options = append(options, cel.Constant(strings.TrimPrefix(name, "CATEGORY_"), cel.IntType, types.Int(number)))
		}
	}
	env, err := expr.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("prepare scopes: %w", err)
	}
	return env, nil
})

// activation is a usage event as CEL sees it.
type activation struct{ usage *eventv1.UsageCharged }

// Parent is none.
func (a *activation) Parent() cel.Activation { return nil }

// ResolveName gives the variable of that name.
func (a *activation) ResolveName(name string) (any, bool) {
	if name == variable {
		return a.usage, true
	}
	return nil, false
}
