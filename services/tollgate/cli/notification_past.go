package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// dryRunNotification counts how often a notification would have fired.
type dryRunNotification struct {
	Tried
	From string `help:"Begin of the range: a time, or how long ago; 7d by default." placeholder:"TIME"`
	To   string `help:"End of the range; now by default." placeholder:"TIME"`
}

// Help is shown below the flags.
func (dryRunNotification) Help() string {
	return `Folds past events with a notification, stored or not, by the code that plans deliveries: how often it would have fired, for
how many subjects, on which days, and three of its messages. Nothing is sent. At most 10,000,000 records or 60 s are
read, whole partitions; what share that is stands in the answer, and nothing is scaled.

Example:

    tollgate notification dry-run -f limits.yaml --from 30d

    tollgate notification dry-run limits --tenant acme --from 2026-11-01T00:00:00Z --to 2026-11-30T00:00:00Z -o json`
}

// Run counts.
func (c dryRunNotification) Run(ctx context.Context, streams command.Streams) error {
	name, n, err := c.read()
	if err != nil {
		return err
	}
	req := &triggerv1.DryRunRequest{Rule: &triggerv1.DryRunRequest_Name{Name: name}}
	if n != nil {
		req.Rule = &triggerv1.DryRunRequest_Notification{Notification: n}
	}
	now := time.Now()
	if req.From, err = momentOf(c.From, now); err != nil {
		return err
	}
	if req.To, err = momentOf(c.To, now); err != nil {
		return err
	}
	bar := showSteps(streams, "records of the log", 1)
	defer bar.end()
	r, err := streamed(c.Trigger, func(client triggerv1.RuleServiceClient) (grpc.ServerStreamingClient[triggerv1.DryRunResponse], error) {
		return client.DryRun(ctx, req)
	}, func(m *triggerv1.DryRunResponse) *triggerv1.DryRunResult {
		if p := m.GetProgress(); p.GetEventsPlanned() > 0 {
			bar.at(0, float64(p.GetEventsRead())/float64(p.GetEventsPlanned()))
		}
		return m.GetResult()
	})
	bar.end()
	if err != nil {
		return err
	}
	return c.write(streams, r, []string{"dry run", "value"}, dryRunRows(r))
}

// streamed asks, and returns the result that ends the answer; each takes a message, and returns the result in it.
func streamed[M, R any](to Trigger, ask func(triggerv1.RuleServiceClient) (grpc.ServerStreamingClient[M], error), each func(*M) *R) (r *R, err error) {
	err = to.ask(func(client triggerv1.RuleServiceClient) error {
		stream, err := ask(client)
		return followed(stream, err, func(m *M) {
			if got := each(m); got != nil {
				r = got
			}
		})
	})
	if err == nil && r == nil {
		err = errors.New("the answer ended before its end: run it again")
	}
	return r, err
}

func dryRunRows(r *triggerv1.DryRunResult) [][]string {
	subjects, read := fmt.Sprint(r.GetSubjects()), r.GetRead()
	if r.GetMoreSubjects() {
		subjects += " or more"
	}
	rows := [][]string{{"firings", fmt.Sprint(r.GetFirings())}, {"subjects", subjects}, {"deliveries", fmt.Sprint(r.GetDeliveries())}}
	for _, h := range r.GetHeld() {
		reason := strings.ToLower(strings.TrimPrefix(h.GetReason().String(), "REASON_"))
		rows = append(rows, []string{"held back, " + reason, fmt.Sprintf("%d: %s", h.GetCount(), h.GetDetail())})
	}
	if n := r.GetValuesWithoutBefore(); n > 0 {
		rows = append(rows, []string{"values without a before", fmt.Sprint(n)})
	}
	if n := r.GetTimersPending(); n > 0 {
		rows = append(rows, []string{"timers due later", fmt.Sprint(n)})
	}
	for _, p := range r.GetProblems() {
		rows = append(rows, []string{p.GetAction() + " problem", p.GetProblem()})
	}
	for _, d := range r.GetDays() {
		line := fmt.Sprint(d.GetFirings())
		if d.GetRecordsRead() < d.GetRecords() {
			line += fmt.Sprintf(", %s of its records read", share(d.GetRecordsRead(), d.GetRecords()))
		}
		rows = append(rows, []string{d.GetDate(), line})
	}
	line := fmt.Sprintf("%s: %d of %d records, %d of %d partitions", share(read.GetRecordsRead(), read.GetRecords()), read.GetRecordsRead(), read.GetRecords(),
		read.GetPartitionsRead(), read.GetPartitions())
	if by := read.GetEndedBy(); by != triggerv1.DryRunRead_BOUND_UNSPECIFIED {
		line += ", ended by the bound of " + strings.ToLower(strings.TrimPrefix(by.String(), "BOUND_"))
	}
	rows = append(rows, []string{"read", line})
	for i, s := range r.GetSamples() {
		rows = append(rows, []string{fmt.Sprintf("sample %d", i+1), strings.TrimSpace(at(s.GetTime()) + " " + s.GetEvent().GetType() + " of " + s.GetEvent().GetSubject() + " " + s.GetFiring())})
		rows = append(rows, messageRows(fmt.Sprintf("sample %d ", i+1), s.GetMessages())...)
	}
	return rows
}

// share is a part of a whole in percent, never rounded up to all of it.
func share(part, whole int64) string {
	if whole <= part {
		return "100 %"
	}
	return fmt.Sprintf("%.1f %%", float64(part*1000/whole)/10)
}

// explainNotification shows why notifications did or did not fire for an event.
type explainNotification struct {
	Trigger
	Event        string `arg:"" help:"Position of the event, TOPIC/PARTITION/OFFSET, as tollgate send prints it; or its id, beside --subject."`
	Subject      string `help:"Subject of the event, where its id is given." placeholder:"SUBJECT"`
	From         string `help:"Search for the id from here on: a time, or how long ago; 1h by default." placeholder:"TIME"`
	To           string `help:"Search up to here; now by default." placeholder:"TIME"`
	Notification string `help:"Code of one notification; all of the event's type by default." placeholder:"CODE"`
}

// Help is shown below the flags.
func (explainNotification) Help() string {
	return `Folds the log of an event's subject again and shows for each notification of its type why it did or did not fire: inactive,
a filter that does not hold with the values of its parts, a cap, a timer that is pending or was cancelled.

Example:

    tollgate notification explain events.ordered/3/1042 --tenant acme

    tollgate notification explain u-17 --subject 491511234567 --from 2h --tenant acme --notification limits -o json`
}

// AfterApply is called by kong once the flags are read.
func (c explainNotification) AfterApply() error {
	_, position := positionOf(c.Event)
	switch {
	case c.Tenant == "":
		return command.UsageError("--tenant is required")
	case !position && c.Subject == "":
		return command.UsageError("EVENT must be TOPIC/PARTITION/OFFSET, or an id beside --subject")
	}
	return nil
}

// Run explains.
func (c explainNotification) Run(ctx context.Context, streams command.Streams) error {
	req := &triggerv1.ExplainRequest{Parent: "tenants/" + c.Tenant, Notification: c.Notification}
	if at, ok := positionOf(c.Event); ok && c.Subject == "" {
		req.Event = &triggerv1.ExplainRequest_Position{Position: at}
	} else {
		search, now := &triggerv1.EventSearch{Id: c.Event, Subject: c.Subject}, time.Now()
		var err error
		if search.From, err = momentOf(c.From, now); err != nil {
			return err
		}
		if search.To, err = momentOf(c.To, now); err != nil {
			return err
		}
		req.Event = &triggerv1.ExplainRequest_Search{Search: search}
	}
	bar := showSteps(streams, "the log behind the event", 1)
	defer bar.end()
	r, err := streamed(c.Trigger, func(client triggerv1.RuleServiceClient) (grpc.ServerStreamingClient[triggerv1.ExplainResponse], error) {
		return client.Explain(ctx, req)
	}, func(m *triggerv1.ExplainResponse) *triggerv1.ExplainResult {
		if p := m.GetProgress(); p.GetEndOffset() > 0 {
			bar.at(0, float64(p.GetOffset())/float64(p.GetEndOffset()))
		}
		return m.GetResult()
	})
	bar.end()
	if err != nil {
		return err
	}
	revision := fmt.Sprint(r.GetRevision())
	if r.GetRevisionAssumed() {
		revision += ", the present one: the log does not show which it was"
	}
	e, p := r.GetEvent(), r.GetPosition()
	rows := [][]string{{"event", "", fmt.Sprintf("%s %s of %s, at %s/%d/%d", e.GetType(), e.GetId(), e.GetSubject(), p.GetTopic(), p.GetPartition(), p.GetOffset())}, {"revision", "", revision}}
	if from := r.GetStateFromOffset(); from > 0 {
		rows = append(rows, []string{"state", "", fmt.Sprintf("known from offset %d on: neither the log nor a snapshot reaches back further", from)})
	}
	for _, n := range r.GetNotifications() {
		outcome := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(n.GetOutcome().String(), "OUTCOME_")), "_", " ")
		rows = append(rows, []string{n.GetNotification(), outcome, n.GetDetail()})
		for _, part := range partRows(n.GetFilterParts()) {
			rows = append(rows, []string{"", part[0], part[1]})
		}
		for _, d := range n.GetDeliveries() {
			rows = append(rows, []string{"", "delivery", strings.TrimSpace(d.GetId() + " to " + d.GetTarget() + " " + d.GetFiring())})
		}
		for _, d := range n.GetDecisions() {
			rows = append(rows, []string{"", strings.ToLower(strings.TrimPrefix(d.GetReason().String(), "REASON_")), d.GetDetail()})
		}
	}
	return c.write(streams, r, []string{"notification", "outcome", "detail"}, rows)
}
