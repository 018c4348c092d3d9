package chain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/hook"
	"github.com/tollgate/tollgate/services/provision/reply"
)

// Policy is what an action becomes where a handler can't decide.
type Policy bool

// The zero value forbids.
const (
	Forbid Policy = false
	Allow  Policy = true
)

// String is the policy as configuration has it.
func (p Policy) String() string {
	if p == Allow {
		return "allow"
	}
	return "forbid"
}

// Handler is one that is asked before an action.
type Handler struct {
	// Name is that of its resource.
	Name string
	// Priority: lower is asked first; of one priority, in the order of names.
	Priority int32
	Policy   Policy
	// Timeout is the handler's own, of one question.
	Timeout time.Duration
	// Concurrency is how many questions are open at once.
	Concurrency int
	// MayChange are the fields that it may change; all where it is empty.
	MayChange hook.Paths
}

// Outcome is how one handler ended.
type Outcome uint8

// Outcomes. All but the first three end by the handler's policy.
const (
	Allowed Outcome = iota
	Changed
	Forbade
	// Fault: it answered what is no decision, or could not be reached.
	Fault
	// TimedOut: it took longer than its own timeout.
	TimedOut
	// CutOff: the call's budget ended while it was asked. It means nothing for the handler.
	CutOff
	// NotAsked: no budget was left.
	NotAsked
	// CircuitOpen: it failed too often in a row, and is asked again later.
	CircuitOpen
	// Busy: as many questions as it takes at once were open until its timeout.
	Busy
)

var outcomes = [...]string{"allowed", "changed", "forbade", "fault", "timed_out", "cut_off", "not_asked", "circuit_open", "busy"}

// String is the outcome in lower case.
func (o Outcome) String() string { return outcomes[o] }

// Outcomes are all of them, a closed set for metrics.
func Outcomes() []string { return outcomes[:] }

// Exchange is what passed between us and a handler, for the log.
type Exchange struct {
	// Status is that of the response, or the exit status of a script; 0 where there was none.
	Status int
	// Sent and Received are bodies, the latter cut.
	Sent, Received []byte
}

// Ask puts data to a handler and reads its answer. The error is the handler's fault; Failure marks one that counts for its
// circuit. It returns soon after ctx has ended.
type Ask func(ctx context.Context, h *Handler, data proto.Message) (reply.Reply, Exchange, error)

// Failure is a fault which means that a handler is not well: it can't be reached, or fails whatever it is sent.
type Failure struct{ Err error }

func (f Failure) Error() string { return f.Err.Error() }

func (f Failure) Unwrap() error { return f.Err }

// Ours is a failure of this machine, not of a handler: there is no decision.
type Ours struct{ Err error }

func (o Ours) Error() string { return o.Err.Error() }

func (o Ours) Unwrap() error { return o.Err }

// Result is what one handler did.
type Result struct {
	Handler *Handler
	Outcome Outcome
	// Text is the handler's reason, or what was wrong.
	Text string
	// Unwell: it is not this question that it fails on; another time it may answer.
	Unwell   bool
	Began    time.Time
	Took     time.Duration
	Changes  []reply.Change
	Exchange Exchange
}

// ByPolicy reports that the handler itself did not decide.
func (r *Result) ByPolicy() bool { return r.Outcome > Forbade }

// Answer is the decision of the chain.
type Answer struct {
	Forbidden bool
	Reason    string
	// By is whose result decided a forbid; nil where the action is allowed.
	By *Result
	// ByPolicy: its failure policy did, not its answer.
	ByPolicy bool
	// Data is what the handlers made of what was sent.
	Data    proto.Message
	Results []Result
}

const (
	// longest bounds the budget of a call, whatever its deadline.
	longest = 10 * time.Second
	// A tenth of the budget is kept to store and publish the answer, within these bounds.
	leastReserve, mostReserve = 50 * time.Millisecond, 500 * time.Millisecond
	// leastQuestion is what must be left to ask one handler.
	leastQuestion = 10 * time.Millisecond
)

// ErrNoTime: the deadline is too near to ask anybody. Nothing was asked.
var ErrNoTime = errors.New("the deadline leaves no time to ask a handler")

// Budget is when asking must end, for the answer to come before the deadline of ctx. The error is ErrNoTime.
func Budget(ctx context.Context, now time.Time) (time.Time, error) {
	end := now.Add(longest)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	end = end.Add(-min(max(end.Sub(now)/10, leastReserve), mostReserve))
	if end.Sub(now) < leastQuestion {
		return end, ErrNoTime
	}
	return end, nil
}

// Chain asks handlers. // The zero Chain has no circuit open.
type Chain struct{ gates gates }

// Order is that in which handlers are asked.
func Order(a, b *Handler) int {
	return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Name, b.Name))
}

// Run asks the handlers, which are in their order, until end. The error is Ours, or that of ctx where the caller has gone: there
// is no decision.
func (c *Chain) Run(ctx context.Context, ask Ask, handlers []*Handler, data proto.Message, end time.Time) (*Answer, error) {
	a := &Answer{Data: data, Results: make([]Result, 0, len(handlers))}
	for _, h := range handlers {
		r := Result{Handler: h, Began: time.Now()}
		answer, err := c.question(ctx, ask, h, a.Data, end, &r)
		if err != nil {
			return nil, err
		}
		r.Took = time.Since(r.Began)
		if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
			return nil, err
		}
		a.Results = append(a.Results, r)
		switch {
		case r.Outcome == Changed:
			a.Data = answer.Data
		case r.Outcome == Forbade, r.ByPolicy() && h.Policy == Forbid:
			a.Forbidden, a.ByPolicy = true, r.ByPolicy()
			a.By = &a.Results[len(a.Results)-1]
			a.Reason = a.explain()
			return a, nil
		}
	}
	return a, nil
}

// One asks a handler by itself, within its own time. The error is Ours, or that of ctx where that ended: there is no answer.
func (c *Chain) One(ctx context.Context, ask Ask, h *Handler, data proto.Message) (Result, error) {
	r := Result{Handler: h, Began: time.Now()}
	_, err := c.question(ctx, ask, h, data, r.Began.Add(2*h.Timeout+leastQuestion), &r)
	r.Took = time.Since(r.Began)
	if err == nil {
		err = context.Cause(ctx)
	}
	return r, err
}

// question asks one handler, and writes what came of it into r.
func (c *Chain) question(ctx context.Context, ask Ask, h *Handler, data proto.Message, end time.Time, r *Result) (answer reply.Reply, _ error) {
	left := time.Until(end)
	if left < leastQuestion {
		r.Outcome, r.Text = NotAsked, "no time of the call was left"
		return answer, nil
	}
	gate := c.gates.of(h)
	if !gate.admits(time.Now()) {
		r.Outcome, r.Unwell, r.Text = CircuitOpen, true, "it failed too often in a row, and is asked again later"
		return answer, nil
	}
	asking, cancel := context.WithTimeout(ctx, min(h.Timeout, left))
	defer cancel()
	if !gate.enter(asking) {
		r.Outcome, r.Unwell, r.Text = Busy, true, fmt.Sprintf("%d questions to it were open already", h.Concurrency)
		return answer, nil
	}
	answer, exchange, err := ask(asking, h, data)
	gate.leave()
	r.Exchange = exchange
	var failure Failure
	var ours Ours
	switch {
	case err == nil:
		gate.succeeded()
		r.Text, r.Changes, r.Outcome = answer.Reason, answer.Changes, Allowed
		if answer.Forbidden {
			r.Outcome = Forbade
		} else if len(answer.Changes) > 0 {
			r.Outcome = Changed
		}
	case errors.As(err, &ours):
		gate.abandoned()
		return answer, err
	case errors.Is(ctx.Err(), context.Canceled):
		// The caller has gone: Run gives no decision.
		gate.abandoned()
	case asking.Err() != nil && left <= h.Timeout:
		r.Outcome, r.Text = CutOff, fmt.Sprintf("the call's time ended after %s of the handler's %s", left.Round(time.Millisecond), h.Timeout)
		gate.abandoned()
	case asking.Err() != nil:
		r.Outcome, r.Unwell, r.Text = TimedOut, true, fmt.Sprintf("it did not answer within %s", h.Timeout)
		gate.failed(time.Now())
	case errors.As(err, &failure):
		r.Outcome, r.Unwell, r.Text = Fault, true, err.Error()
		gate.failed(time.Now())
	default:
		// It answers, though not what this call can use.
		r.Outcome, r.Text = Fault, err.Error()
		gate.succeeded()
	}
	return answer, nil
}

// explain is why the action is forbidden, for the caller.
func (a *Answer) explain() string {
	if !a.ByPolicy {
		return a.By.Text
	}
	text := fmt.Sprintf("%s could not decide, and its failure policy is to forbid: %s", a.By.Handler.Name, a.By.Text)
	if a.By.Outcome != NotAsked && a.By.Outcome != CutOff {
		return text
	}
	// Who took the time.
	others := slices.Clone(a.Results[:len(a.Results)-1])
	slices.SortStableFunc(others, func(x, y Result) int { return cmp.Compare(y.Took, x.Took) })
	var took []string
	for _, r := range others[:min(len(others), 3)] {
		if r.Took >= leastQuestion {
			took = append(took, fmt.Sprintf("%s took %s", r.Handler.Name, r.Took.Round(time.Millisecond)))
		}
	}
	if len(took) > 0 {
		text += " (" + strings.Join(took, ", ") + ")"
	}
	return text
}
