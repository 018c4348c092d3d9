package expr

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Bounds. What compiles, and what fails on which event, is part of how a log is folded: these numbers, and the cost of
// each function, change only with the engine's level.
const (
	// MaxText bounds an expression, in bytes.
	MaxText = 4096
	// Limit bounds one evaluation, in units. A unit is one step of CEL, ten bytes that are looked at, or ten steps of a
	// pattern: 100 ns at most.
	Limit = 100_000
	// quick is the estimated cost on the largest event up to which an evaluation runs without counting, which halves
	// its cost.
	quick = 1_000

	// maxString is the length of the longest text in an event; an ordinary event has texts and lists up to the other
	// bounds.
	maxString      = 1 << 20
	ordinaryString = 1 << 10
	ordinaryList   = 100
)

// NewEnv makes an environment with the functions that all expressions share, and the options.
func NewEnv(options ...cel.EnvOption) (*cel.Env, error) {
	env, err := cel.NewEnv(append([]cel.EnvOption{
		// So that UsageCharged.Category.CATEGORY_DATA is enough.
		cel.Container("tollgate.event.v1"),
		cel.DefaultUTCTimeZone(true),
		cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), patterns{}, guards{},
			cel.ValidateComprehensionNestingLimit(2)),
		cel.CostModel(models()...),
	}, options...)...)
	if err != nil {
		return nil, fmt.Errorf("prepare expressions: %w", err)
	}
	return env, nil
}

// Program is a compiled expression: of Compile, one that Holds or not; of CompileKey, one that yields Keys.
type Program struct {
	program cel.Program
	counted bool
	terms   []Term
	most    uint64 // units, where not counted
}

// Compile compiles an expression that yields true or false. On errors it returns no program, and all errors as sentences.
func Compile(env *cel.Env, text string) (*Program, *cel.Ast, []string) {
	return compile(env, text, func(t *cel.Type) string {
		if !t.IsExactType(cel.BoolType) {
			return "must be true or false, not " + t.String()
		}
		return ""
	})
}

// CompileKey compiles an expression that yields a text or a whole number, or, with lists, a list of them.
func CompileKey(env *cel.Env, text string, lists bool) (*Program, []string) {
	single := func(t *cel.Type) bool {
		return t.IsExactType(cel.StringType) || t.IsExactType(cel.IntType) || t.IsExactType(cel.UintType)
	}
	p, _, faults := compile(env, text, func(t *cel.Type) string {
		switch {
		case single(t):
			return ""
		case !lists:
			return "must be a text or a whole number, not " + t.String()
		case t.Kind() != types.ListKind || len(t.Parameters()) != 1 || !single(t.Parameters()[0]):
			return "must be a text, a whole number, or a list of one of them, not " + t.String()
		}
		return ""
	})
	return p, faults
}

// compile compiles an expression whose type no objection is raised to.
func compile(env *cel.Env, text string, objection func(*cel.Type) string) (*Program, *cel.Ast, []string) {
	if len(text) > MaxText {
		return nil, nil, []string{fmt.Sprintf("must be at most %d bytes, has %d", MaxText, len(text))}
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		var out []string
		for _, e := range issues.Errors() {
			out = append(out, fmt.Sprintf("%s (line %d, column %d)", e.Message, e.Location.Line(), e.Location.Column()+1))
		}
		return nil, nil, out
	}
	if why := objection(checked.OutputType()); why != "" {
		return nil, nil, []string{why}
	}
	if most := estimate(env, checked, ordinary); most > Limit {
		return nil, nil, []string{tooExpensive(most)}
	}
	p := &Program{most: estimate(env, checked, largest)}
	p.counted = p.most > quick
	p.findTerms(checked.NativeRep())
	found := patternsIn(checked)
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.OptimizeRegex(found.bounded()...)}
	if p.counted {
		options = append(options, cel.CostLimit(Limit), cel.CostTrackerOptions(found.charges()...))
	}
	var err error
	if p.program, err = env.Program(checked, options...); err != nil {
		return nil, nil, []string{err.Error()}
	}
	return p, checked, nil
}

func tooExpensive(most uint64) string {
	cost := fmt.Sprint(most)
	if most == math.MaxUint64 {
		cost = "without bound"
	}
	return fmt.Sprintf("costs too much, %s of at most %d steps on an event with texts of %d bytes and lists of %d: loop over one list instead of one within another, "+
		"repeat less in patterns, or use startsWith, endsWith or contains in place of matches", cost, Limit, ordinaryString, ordinaryList)
}

// Holds evaluates the expression, and returns the cost in units. An error is the expression's own, such as a division
// by zero, or the event is too large for it: the same for this event in every evaluation.
func (p *Program) Holds(a cel.Activation) (holds bool, cost uint64, err error) {
	out, cost, err := p.eval(a)
	if err != nil {
		return false, cost, err
	}
	answer, ok := out.(types.Bool)
	if !ok {
		return false, cost, fmt.Errorf("the answer is %s, not true or false", out.Type().TypeName())
	}
	return bool(answer), cost, nil
}

// Keys evaluates the expression as Holds does: one text, or those of a list in its order. Those of a list are at most a
// thousand, those behind them are left out.
func (p *Program) Keys(a cel.Activation) (keys []string, cost uint64, err error) {
	out, cost, err := p.eval(a)
	if err != nil {
		return nil, cost, err
	}
	list, ok := out.(traits.Lister)
	if !ok {
		key, err := keyOf(out)
		return []string{key}, cost, err
	}
	for it := list.Iterator(); it.HasNext() == types.True && len(keys) < maxKeys; {
		key, err := keyOf(it.Next())
		if err != nil {
			return nil, cost, err
		}
		keys = append(keys, key)
	}
	return keys, cost, nil
}

// maxKeys is more than one event may use of them.
const maxKeys = 1000

func keyOf(v ref.Val) (string, error) {
	switch v := v.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	}
	return "", fmt.Errorf("the answer is %s, not a text or a whole number", v.Type().TypeName())
}

func (p *Program) eval(a cel.Activation) (out ref.Val, cost uint64, err error) {
	out, details, err := p.program.Eval(a)
	cost = p.most
	if p.counted {
		cost = Limit
		if actual := details.ActualCost(); actual != nil {
			cost = min(*actual, Limit)
		}
	}
	return out, cost, err //nolint:wrapcheck // the caller adds which expression it is
}

// estimate is the largest cost of an expression for events of the given sizes.
func estimate(env *cel.Env, checked *cel.Ast, given sizes) uint64 {
	e, err := env.EstimateCost(checked, given)
	if err != nil {
		return math.MaxUint64
	}
	return e.Max
}

// literal is a constant text.
func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// Blank reports that there is no expression.
func Blank(text string) bool { return strings.TrimSpace(text) == "" }
