package expr

import (
	"errors"
	"regexp"
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// maxPattern bounds one pattern, in steps for a character.
const maxPattern = 1000

const matches = overloads.Matches

// patterns rejects patterns without a bound: one that is not a constant, and one that takes too many steps. It checks
// the size before the pattern is compiled, which takes memory in proportion to it.
type patterns struct{}

// Name of the validator.
func (patterns) Name() string { return "tollgate.validator.patterns" }

// Validate reports each pattern at its position.
func (patterns) Validate(_ *cel.Env, _ cel.ValidatorConfig, a *ast.AST, issues *cel.Issues) {
	for _, call := range ast.MatchDescendants(ast.NavigateAST(a), ast.FunctionMatcher(matches)) {
		args := call.AsCall().Args()
		if len(args) == 0 {
			continue
		}
		at := args[len(args)-1]
		text, ok := literal(at)
		if !ok {
			issues.ReportErrorAtID(at.ID(), "the pattern of matches must be a constant text, so that what it costs is known")
			continue
		}
		size, err := sizeOf(text)
		if err == nil && size <= maxPattern {
			_, err = regexp.Compile(text)
		}
		switch {
		case err != nil:
			issues.ReportErrorAtID(at.ID(), "invalid matches argument: %s", err)
		case size > maxPattern:
			issues.ReportErrorAtID(at.ID(), "the pattern takes up to %d steps for a character, at most %d: repeat less, a{0,1000} counts a thousand times", size, maxPattern)
		}
	}
}

// sizeOf is how many steps a pattern may take for one character: the size of its program, computed without compiling
// it.
func sizeOf(pattern string) (int, error) {
	re, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, errors.New(err.Error())
	}
	return steps(re), nil
}

func steps(re *syntax.Regexp) int {
	sum := 1
	for _, sub := range re.Sub {
		sum += steps(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune)
	case syntax.OpRepeat:
		times := re.Max
		if times < 0 {
			times = re.Min + 1
		}
		return max(1, sum*times)
	}
	return sum
}

// patternSizes are the patterns of one expression, with their sizes.
type patternSizes map[string]int

func patternsIn(checked *cel.Ast) patternSizes {
	out := patternSizes{}
	for _, call := range ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.FunctionMatcher(matches)) {
		args := call.AsCall().Args()
		if text, ok := literal(args[len(args)-1]); ok {
			out[text], _ = sizeOf(text) // it was parsed before
		}
	}
	return out
}

// matching is the cost of matching a text of a size, in units.
func matching(size int, text uint64) uint64 {
	return cost.SafeAdd(1, cost.SafeMultiply(uint64(size), cost.SafeAdd(text, 1))/10)
}

// bounded compiles each pattern once, and runs none on a text that is too long for it: the limit counts a call after it
// ran, which would be too late.
func (f patternSizes) bounded() []*interpreter.RegexOptimization {
	factory := func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
		re, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err //nolint:wrapcheck // the validator has the error
		}
		size := f[pattern]
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(values ...ref.Val) ref.Val {
			if len(values) != 2 {
				return types.NoSuchOverloadErr()
			}
			text, ok := values[0].(types.String)
			if !ok {
				return types.MaybeNoSuchOverloadErr(values[0])
			}
			if matching(size, uint64(len(text))) > Limit {
				return types.NewErr("a text of %d bytes is too long for a pattern of %d steps a character", len(text), size)
			}
			return types.Bool(re.MatchString(string(text)))
		}), nil
	}
	var out []*interpreter.RegexOptimization
	for _, overload := range []string{overloads.Matches, overloads.MatchesString} {
		out = append(out, &interpreter.RegexOptimization{Function: matches, OverloadID: overload, RegexIndex: 1, Factory: factory})
	}
	return out
}

// trackedByProgram leaves the cost to charges, which know the pattern sizes of one expression.
func trackedByProgram([]ref.Val, ref.Val) *uint64 { return nil }

// charges report the cost of a match to the counter.
func (f patternSizes) charges() []cost.TrackerOption {
	track := func(args []ref.Val, _ ref.Val) *uint64 {
		units := uint64(1)
		if len(args) == 2 {
			text, _ := args[0].(types.String)
			pattern, _ := args[1].(types.String)
			if units = matching(f[string(pattern)], uint64(len(text))); units > Limit {
				units = 1 // it was not run
			}
		}
		return &units
	}
	return []cost.TrackerOption{cost.OverloadTracker(overloads.Matches, track), cost.OverloadTracker(overloads.MatchesString, track)}
}

// estimateMatch is matching for the longest text of its kind.
func estimateMatch(e cost.Estimator, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	all := args
	if target != nil {
		all = append([]cost.AstNode{*target}, args...)
	}
	if len(all) != 2 {
		return nil
	}
	size := maxPattern
	if text, ok := literal(all[1].Expr()); ok {
		if n, err := sizeOf(text); err == nil {
			size = n
		}
	}
	length := cost.EstimateSize(e, all[0])
	return cost.NewCallEstimate(cost.RangedCostEstimate(1, matching(size, length.Max)), nil)
}
