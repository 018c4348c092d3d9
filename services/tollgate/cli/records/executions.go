package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// ListExecutions shows what hooks were asked.
type ListExecutions struct {
	command.Kafka
	command.Listing
	Since   string   `default:"1h" help:"From then on: RFC 3339, or so long ago, such as 24h; ${default} by default." placeholder:"TIME"`
	Until   string   `help:"Before then: RFC 3339, or so long ago. Until now by default." placeholder:"TIME"`
	Tenant  string   `env:"TOLLGATE_TENANT" help:"Only this tenant." placeholder:"ID"`
	Handler string   `help:"Only this hook: full name or id." placeholder:"NAME"`
	Status  []string `help:"Only these outcomes (allowed, changed, forbade, fault, timed_out, cut_off, not_asked, circuit_open, busy) or statuses of responses; divided by commas." placeholder:"STATUS"`
	Event   string   `help:"Only this event: its type or its id." placeholder:"EVENT"`
	Object  string   `help:"Only this object." placeholder:"ID"`
	Caller  string   `help:"Only what this key asked: the beginning of its hash." placeholder:"HASH"`
	Stage   string   `enum:",before,after,test" default:"" help:"Only this stage: before, after or test."`
	Limit   int      `default:"1000" help:"At most so many, the newest; ${default} by default." placeholder:"N"`
}

// Help is shown below the flags.
func (ListExecutions) Help() string {
	return `Reads provision.executions without a consumer group, from --since on, and shows what was found in the order of time. A record is
one question to one hook: outcome, status, what was sent, received and changed, and the key that asked, as the beginning of its hash.
Secrets are masked in it; personal and contact data too, unless the tenant keeps them. -o json has all of it.

Example:

    tollgate hooks log --tenant acme --since 24h --status fault,timed_out

    tollgate hooks log --tenant acme --handler credit-check --event client.created --object 7401 -o json`
}

// AfterApply is called by kong once the flags are read.
func (c ListExecutions) AfterApply() error {
	if _, _, err := c.times(time.Now()); err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 1_000_000 {
		return command.UsageError("--limit must be from 1 to 1000000")
	}
	return nil
}

func (c ListExecutions) times(now time.Time) (from, to time.Time, err error) {
	from, fromErr := moment("--since", c.Since, now)
	to, toErr := moment("--until", c.Until, now)
	err = errors.Join(fromErr, toErr)
	if err == nil && !to.IsZero() && !from.Before(to) {
		err = errors.New("--since must be before --until")
	}
	if err != nil {
		return from, to, command.UsageError(err.Error())
	}
	return from, to, nil
}

// Run lists.
func (c ListExecutions) Run(ctx context.Context, streams command.Streams) error {
	from, to, err := c.times(time.Now())
	if err != nil {
		return err
	}
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	bar := &scanned{streams: streams}
	defer bar.end()
	var found []*provisionv1.Execution
	left := 0
	newest := func() {
		slices.SortStableFunc(found, func(a, b *provisionv1.Execution) int { return a.GetTime().AsTime().Compare(b.GetTime().AsTime()) })
		if n := len(found) - c.Limit; n > 0 {
			found, left = slices.Delete(found, 0, n), left+n
		}
	}
	err = scanShown(ctx, client, streams, c.Kafka, stream.ProvisionExecutions, from, bar.show, func(r stream.Record) error {
		x := &provisionv1.Execution{}
		if err := proto.Unmarshal(r.Value, x); err != nil {
			fmt.Fprintf(streams.Err, "tollgate: %s/%d/%d is no execution: %v\n", r.Topic, r.Partition, r.Offset, err)
			return nil
		}
		if at := x.GetTime().AsTime(); at.Before(from) || !to.IsZero() && !at.Before(to) || !c.wanted(x) {
			return nil
		}
		if found = append(found, x); len(found) >= 2*c.Limit+1000 {
			newest()
		}
		return nil
	})
	bar.end()
	if err != nil {
		return err
	}
	newest()
	if left > 0 {
		fmt.Fprintf(streams.Err, "tollgate: %d older ones are left out: narrow the time, or raise --limit\n", left)
	}
	rows := make([]Execution, len(found))
	for i, x := range found {
		rows[i] = rowOf(x)
	}
	return command.Write(c.Listing, streams.Out, rows, []string{"time", "handler", "outcome", "status", "took", "event", "object", "stage", "by", "what"}, Execution.cells)
}

func (c ListExecutions) wanted(x *provisionv1.Execution) bool {
	r := x.GetResult()
	id := r.GetHandler()[strings.LastIndexByte(r.GetHandler(), '/')+1:]
	return (c.Tenant == "" || c.Tenant == x.GetTenant()) && (c.Handler == "" || c.Handler == r.GetHandler() || c.Handler == id) &&
		(len(c.Status) == 0 || slices.Contains(c.Status, outcomeOf(r)) || slices.Contains(c.Status, fmt.Sprint(r.GetStatus()))) &&
		(c.Event == "" || c.Event == x.GetType() || c.Event == x.GetEventId()) && (c.Object == "" || c.Object == x.GetObjectId()) &&
		strings.HasPrefix(x.GetCaller(), c.Caller) && (c.Stage == "" || c.Stage == stageOf(x))
}

func outcomeOf(r *provisionv1.HandlerResult) string {
	return strings.ToLower(strings.TrimPrefix(r.GetOutcome().String(), "OUTCOME_"))
}

func stageOf(x *provisionv1.Execution) string {
	return strings.ToLower(strings.TrimPrefix(x.GetStage().String(), "STAGE_"))
}

// Execution is one as a line of JSON.
type Execution struct {
	Time            time.Time       `json:"time"`
	Handler         string          `json:"handler"`
	Outcome         string          `json:"outcome"`
	Status          int32           `json:"status,omitempty"`
	Text            string          `json:"text,omitempty"`
	ByFailurePolicy bool            `json:"by_failure_policy,omitempty"`
	Took            string          `json:"took"`
	Stage           string          `json:"stage"`
	Event           string          `json:"event"`
	EventID         string          `json:"event_id"`
	Object          string          `json:"object"`
	Caller          string          `json:"caller,omitempty"`
	DryRun          bool            `json:"dry_run,omitempty"`
	Changes         []Change        `json:"changes,omitempty"`
	Sent            json.RawMessage `json:"sent,omitempty"`
	Received        json.RawMessage `json:"received,omitempty"`
	Correlation     string          `json:"correlation,omitempty"`
	Revision        int64           `json:"revision"`
	ID              string          `json:"id"`
}

// Change is a field that a hook changed.
type Change struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func rowOf(x *provisionv1.Execution) Execution {
	r := x.GetResult()
	row := Execution{
		Time: x.GetTime().AsTime(), Handler: r.GetHandler(), Outcome: outcomeOf(r), Status: r.GetStatus(), Text: r.GetText(), ByFailurePolicy: r.GetByFailurePolicy(),
		Took: r.GetTook().AsDuration().String(), Stage: stageOf(x), Event: x.GetType(), EventID: x.GetEventId(), Object: x.GetObjectId(), Caller: x.GetCaller(),
		DryRun: x.GetDryRun(), Sent: body(x.GetSent()), Received: body(x.GetReceived()), Correlation: x.GetCorrelation(), Revision: x.GetRevision(), ID: x.GetId(),
	}
	for _, c := range r.GetChanges() {
		row.Changes = append(row.Changes, Change{c.GetPath(), c.GetBefore(), c.GetAfter()})
	}
	return row
}

// body is JSON as it is, and anything else, such as what was cut, as a text.
func body(b []byte) json.RawMessage {
	if len(b) == 0 || json.Valid(b) {
		return b
	}
	text, err := json.Marshal(strings.ToValidUTF8(string(b), "\uFFFD"))
	if err != nil {
		return nil
	}
	return text
}

func (e Execution) cells() []string {
	what := e.Text
	for _, c := range e.Changes {
		what = strings.TrimLeft(what+"; "+c.Path+" "+c.Before+" to "+c.After, "; ")
	}
	status := ""
	if e.Status != 0 {
		status = fmt.Sprint(e.Status)
	}
	return []string{
		e.Time.Format(event.TimeLayout), e.Handler, e.Outcome, status, e.Took, e.Event, display.Text(e.Object, command.MaxCell), e.Stage, e.Caller,
		display.Text(what, command.MaxCell),
	}
}

// scanned is a bar on standard error while a topic is read, where that is a terminal.
type scanned struct {
	streams command.Streams
	all     *mpb.Progress
	bar     *mpb.Bar
}

func (s *scanned) show(done, total int64) {
	if !command.IsTerminal(s.streams.Err) {
		return
	}
	if s.all == nil {
		s.all = mpb.New(mpb.WithOutput(command.Drawn(s.streams.Err)), mpb.WithRefreshRate(200*time.Millisecond))
		s.bar = s.all.AddBar(total, mpb.PrependDecorators(decor.CountersNoUnit("read %d of %d")), mpb.AppendDecorators(decor.AverageETA(decor.ET_STYLE_GO)))
	}
	s.bar.SetCurrent(done)
}

func (s *scanned) end() {
	if s.all == nil {
		return
	}
	s.bar.Abort(true)
	s.all.Wait()
	s.all = nil
}
