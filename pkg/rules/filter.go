package rules

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/expr"
	"github.com/tollgate/tollgate/pkg/fault"
)

// compileFilter compiles text as compileEach does.
func compileFilter(field, text string, of []event.Type, f *fault.Violations) programs {
	return compileEach(field, text, of, f, func(env *cel.Env) (*expr.Program, []string) {
		program, _, issues := expr.Compile(env, text)
		return program, issues
	})
}

// compileKey compiles text as compileEach does, to keys, or one where lists are not allowed.
func compileKey(field, text string, lists bool, of []event.Type, f *fault.Violations) programs {
	return compileEach(field, text, of, f, func(env *cel.Env) (*expr.Program, []string) { return expr.CompileKey(env, text, lists) })
}

// compileEach compiles text once for each message that the types' data can be: fields are checked against every one of
// them, and an evaluation knows its data's type.
func compileEach(field, text string, of []event.Type, f *fault.Violations, compile func(*cel.Env) (*expr.Program, []string)) programs {
	if expr.Blank(text) {
		return nil
	}
	compiled := programs{}
	done := map[protoreflect.FullName]bool{}
	listed := map[string]bool{}
	for _, t := range of {
		message := messageOf(t)
		if done[message] {
			continue
		}
		done[message] = true
		c, issues := compileFor(t, compile)
		for _, issue := range issues {
			text := withWhatExists(issue, text, t.Data.ProtoReflect().Descriptor())
			// A syntax error is the same for every type: listed once.
			if listed[text] {
				continue
			}
			listed[text] = true
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

func compileFor(t event.Type, compile func(*cel.Env) (*expr.Program, []string)) (*expr.Program, []string) {
	env, err := environment(t)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return compile(env)
}

// environments holds what CEL knows about each message of data: making one takes a millisecond, and there are a few.
var environments sync.Map // full name -> func() (*cel.Env, error)

// environmentKey is under which a declared type has its own.
type environmentKey struct{}

func environment(t event.Type) (*cel.Env, error) {
	name := string(messageOf(t))
	made := func() any {
		return newEnvironment(name, t.Data)
	}
	if t.Schema != nil {
		return t.Schema.Once(environmentKey{}, made).(func() (*cel.Env, error))()
	}
	known, ok := environments.Load(name)
	if !ok {
		known, _ = environments.LoadOrStore(name, made())
	}
	return known.(func() (*cel.Env, error))()
}

func newEnvironment(name string, data proto.Message) func() (*cel.Env, error) {
	return sync.OnceValues(func() (*cel.Env, error) {
		env, err := expr.NewEnv(
			cel.Types(data),
			cel.Variable("id", cel.StringType),
			cel.Variable("source", cel.StringType),
			cel.Variable("type", cel.StringType),
			cel.Variable("tenant", cel.StringType),
			cel.Variable("subject", cel.StringType),
			cel.Variable("correlation", cel.StringType),
			cel.Variable("time", cel.TimestampType),
			cel.Variable("received_at", cel.TimestampType),
			cel.Variable("data", cel.ObjectType(name)),
		)
		if err != nil {
			return nil, fmt.Errorf("prepare filters over %s: %w", name, err)
		}
		return env, nil
	})
}

// activation is an event as CEL sees it. One serves all filters of an event.
type activation struct{ event *event.Event }

// Parent is none.
func (a *activation) Parent() cel.Activation { return nil }

// ResolveName gives the variable of that name.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "data":
		return a.event.Fields(), true
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
