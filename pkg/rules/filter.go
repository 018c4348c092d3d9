package rules

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
)

// filterCost bounds one evaluation, in CEL's units: well under a millisecond. A filter whose estimate stays below runs
// without counting, which costs half as much; no event type's fields can make it dearer than estimated.
const filterCost = 1_000_000

// maxFieldSize is the longest that a string in an event can be, its encoding being at most 1 MiB.
const maxFieldSize = 1 << 20

// filter is one CEL program for one message of data.
type filter struct {
	program cel.Program
	limited bool
}

// compileFilter compiles text once for each message that the types' data can be: fields are checked against every one of
// them, and an evaluation knows its data's type.
func compileFilter(text string, of []event.Type, f *fault.Faults) map[protoreflect.FullName]*filter {
	const field = "trigger.filter"
	if strings.TrimSpace(text) == "" {
		return nil
	}
	if len(text) > maxFilter {
		f.Add(field, "must be at most %d bytes", maxFilter)
		return nil
	}
	compiled := map[protoreflect.FullName]*filter{}
	judged := map[protoreflect.FullName]bool{}
	said := map[string]bool{}
	for _, t := range of {
		message := messageOf(t)
		if judged[message] {
			continue
		}
		judged[message] = true
		c, faults := compileFor(text, t.Data)
		for _, text := range faults {
			// A slip in the syntax is the same for every type: said once.
			if said[text] {
				continue
			}
			said[text] = true
			if len(of) == 1 || strings.HasPrefix(text, "Syntax error") {
				f.Add(field, "%s", text)
			} else {
				f.Add(field, "for %s: %s", t.Name, text)
			}
		}
		compiled[message] = c
	}
	return compiled
}

func messageOf(t event.Type) protoreflect.FullName {
	return t.Data.ProtoReflect().Descriptor().FullName()
}

func compileFor(text string, data proto.Message) (*filter, []string) {
	env, err := environment(data)
	if err != nil {
		return nil, []string{err.Error()}
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		var out []string
		for _, e := range issues.Errors() {
			out = append(out, fmt.Sprintf("%s (line %d, column %d)", e.Message, e.Location.Line(), e.Location.Column()+1))
		}
		return nil, out
	}
	if !ast.OutputType().IsExactType(cel.BoolType) {
		return nil, []string{"must be true or false, not " + ast.OutputType().String()}
	}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	estimate, err := env.EstimateCost(ast, sizes{})
	limited := err != nil || estimate.Max > filterCost
	if limited {
		options = append(options, cel.CostLimit(filterCost))
	}
	program, err := env.Program(ast, options...)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return &filter{program: program, limited: limited}, nil
}

// sizes tells CEL's estimate how large a field can be.
type sizes struct{}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	if path := n.Path(); len(path) == 0 || n.Type() == nil {
		return nil
	}
	switch n.Type().Kind() {
	case types.StringKind, types.BytesKind:
		size := cost.RangedSizeEstimate(0, maxFieldSize)
		return &size
	}
	return nil
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// environments holds what CEL knows about each message of data: making one takes a millisecond, and there are a few.
var environments sync.Map // full name -> func() (*cel.Env, error)

func environment(data proto.Message) (*cel.Env, error) {
	name := string(data.ProtoReflect().Descriptor().FullName())
	known, _ := environments.LoadOrStore(name, sync.OnceValues(func() (*cel.Env, error) {
		dataType := cel.ObjectType(name)
		if name == "google.protobuf.Struct" {
			dataType = cel.MapType(cel.StringType, cel.DynType)
		}
		env, err := cel.NewEnv(
			// So that UsageCharged.Category.CATEGORY_DATA is enough.
			cel.Container("tollgate.event.v1"),
			cel.Types(data),
			cel.DefaultUTCTimeZone(true),
			cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals(), cel.ValidateRegexLiterals(),
				cel.ValidateComprehensionNestingLimit(2)),
			cel.Variable("id", cel.StringType),
			cel.Variable("source", cel.StringType),
			cel.Variable("type", cel.StringType),
			cel.Variable("tenant", cel.StringType),
			cel.Variable("subject", cel.StringType),
			cel.Variable("correlation", cel.StringType),
			cel.Variable("time", cel.TimestampType),
			cel.Variable("received_at", cel.TimestampType),
			cel.Variable("data", dataType),
		)
		if err != nil {
			return nil, fmt.Errorf("prepare filters over %s: %w", name, err)
		}
		return env, nil
	}))
	return known.(func() (*cel.Env, error))()
}

// activation is an event as CEL sees it. One serves all filters of an event.
type activation struct{ event *event.Event }

// Parent is none.
func (a *activation) Parent() cel.Activation { return nil }

// ResolveName gives the variable of that name.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "data":
		return a.event.Data, true
	case "type":
		return a.event.Type, true
	case "subject":
		return a.event.Subject, true
	case "id":
		return a.event.ID, true
	case "source":
		return a.event.Source, true
	case "tenant":
		return a.event.Tenant, true
	case "correlation":
		return a.event.Correlation, true
	case "time":
		return timestamp(a.event.Time), true
	case "received_at":
		return timestamp(a.event.ReceivedAt), true
	}
	return nil, false
}

func timestamp(t time.Time) types.Timestamp { return types.Timestamp{Time: t} }

// matches evaluates the filter. An error means no match.
func (c *filter) matches(a *activation) (bool, error) {
	out, _, err := c.program.Eval(a)
	if err != nil {
		return false, fmt.Errorf("evaluate filter: %w", err)
	}
	verdict, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("evaluate filter: the answer is %s, not true or false", out.Type().TypeName())
	}
	return bool(verdict), nil
}
