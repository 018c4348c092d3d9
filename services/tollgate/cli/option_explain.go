package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/format"
)

// explainOption shows why a subscriber's figures are what they are.
type explainOption struct {
	Subscriber
	command.Listing
	Option     string `enum:"data,overspend,payment,all" default:"all" help:"One option: ${enum}."`
	AllPeriods bool   `help:"Earlier periods too, as far as the log reaches."`
}

// Help is shown below the flags.
func (explainOption) Help() string {
	return `Folds the log again and lists every event, call and timer that made the present figures, oldest first. Exits 1 where
the result differs from what is stored.

Example:

    tollgate option explain 491511234567 --tenant acme --option data`
}

// stepRow is one step, in the words of the API.
type stepRow struct {
	Time      string   `json:"time"`
	EventTime string   `json:"event_time,omitempty"`
	Offset    int64    `json:"offset"`
	Cause     string   `json:"cause"`
	Option    string   `json:"option"`
	Change    string   `json:"change,omitempty"`
	Spent     string   `json:"spent,omitempty"`
	Limit     string   `json:"limit,omitempty"`
	State     string   `json:"state"`
	Blocked   bool     `json:"blocked"`
	Outcomes  []string `json:"outcomes,omitempty"`
}

func newStepRow(s *optionsv1.ExplainedStep) stepRow {
	return stepRow{
		Time: at(s.GetTime()), EventTime: at(s.GetEventTime()), Offset: s.GetOffset(), Cause: cause(s.GetCause()),
		Option: format.Option(s.GetOption()), Change: signed(format.Money(s.GetChange())), Spent: format.Money(s.GetSpent()),
		Limit: format.Money(s.GetLimit()), State: format.State(s.GetState()), Blocked: s.GetBlocked(), Outcomes: s.GetOutcomes(),
	}
}

// cause is an event's type and id, or a timer's name.
func cause(c *eventv1.Cause) string {
	if t := c.GetTimer(); t != nil {
		return "timer " + t.GetName()
	}
	if e := c.GetEvent(); e != nil {
		return e.GetType() + " " + e.GetId()
	}
	return ""
}

// signed puts a plus before what was added.
func signed(amount string) string {
	if amount == "" || strings.HasPrefix(amount, "-") || strings.HasPrefix(amount, "0 ") {
		return amount
	}
	return "+" + amount
}

// Run explains.
func (c explainOption) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.open()
	if err != nil {
		return err
	}
	defer command.Close(conn)
	req := &optionsv1.ExplainRequest{Name: c.name(), AllPeriods: c.AllPeriods}
	req.Option, _ = format.ParseOption(c.Option)
	stream, err := optionsv1.NewOptionAuditServiceClient(conn).Explain(ctx, req)
	if err != nil {
		return explained("safeguard", c.Address, err)
	}
	var rows []stepRow
	var summary *optionsv1.ExplainedSummary
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return explained("safeguard", c.Address, err)
		}
		if s := res.GetStep(); s != nil {
			rows = append(rows, newStepRow(s))
		}
		if s := res.GetSummary(); s != nil {
			summary = s
		}
	}
	err = command.Write(c.Listing, streams.Out, rows, []string{"time", "cause", "option", "change", "spent", "limit", "state", "blocked", "outcomes"},
		func(r stepRow) []string {
			return []string{r.Time, r.Cause, r.Option, r.Change, r.Spent, r.Limit, r.State, yes(&r.Blocked), strings.Join(r.Outcomes, ", ")}
		})
	if err != nil {
		return err
	}
	return c.conclude(streams, summary)
}

func (c explainOption) conclude(streams command.Streams, s *optionsv1.ExplainedSummary) error {
	if s == nil {
		return fmt.Errorf("safeguard service at %s: it ended the explanation before its end: run it again", c.Address)
	}
	fmt.Fprintf(streams.Err, "tollgate: from the log's offset %d to %d\n", s.GetFromOffset(), s.GetToOffset())
	if s.GetPartial() {
		fmt.Fprintln(streams.Err, "tollgate: this is not the whole of it: the first step goes on from a snapshot, or from what was spent under another number (system.transfer)")
	}
	if !s.GetEqual() {
		return errors.New("the result differs from what is stored: tollgate option verify lists the subscribers concerned")
	}
	return nil
}
