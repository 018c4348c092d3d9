package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Test asks one hook about sample data.
type Test struct {
	Hooks
	Name     string `arg:"" help:"Full name of the hook, or its id beside --tenant."`
	Type     string `help:"Event type; the first of the hook's by default." placeholder:"TYPE"`
	ObjectID string `name:"object" help:"Id of the object; that of the type's example by default." placeholder:"ID"`
	File     string `short:"f" help:"Data in JSON, in place of the type's example; needs --type." placeholder:"FILE"`
}

// Help is shown below the flags.
func (Test) Help() string {
	return `Asks the hook as an action would, with the stage "test": no key is taken, nothing is published, no circuit counts it. Disabled
and archived hooks can be tested. What was sent, received and changed is shown, and what an action would become.

Exit code 1 where the hook can't decide; a hook that forbids has decided.

Example:

    tollgate hooks test credit-check --tenant acme

    tollgate hooks test credit-check --tenant acme --type client.updated -f client.json -o json`
}

// AfterApply is called by kong once the flags are read.
func (c Test) AfterApply() error {
	if c.File != "" && c.Type == "" {
		return command.UsageError("--file needs --type: the type that the data is of")
	}
	_, err := c.named(c.Name)
	return err
}

// Run tests.
func (c Test) Run(ctx context.Context, streams command.Streams) error {
	name, err := c.named(c.Name)
	if err != nil {
		return err
	}
	req := &provisionv1.TestRunRequest{Name: name, Type: c.Type, ObjectId: c.ObjectID}
	if c.File != "" {
		if req.Data, err = dataOf(c.Type, c.File); err != nil {
			return err
		}
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	answer, err := configv1.NewHookServiceClient(conn).TestRun(ctx, req)
	if err != nil {
		return c.explained(err)
	}
	if c.Output == "table" {
		err = command.Write(c.Listing, streams.Out, linesOf(answer), []string{"test", "value"}, func(l [2]string) []string { return l[:] })
	} else {
		err = command.Write(c.Listing, streams.Out, []testRow{rowOf(answer)}, nil, nil)
	}
	if err == nil && answer.GetResult().GetByFailurePolicy() {
		err = errors.New("the hook could not decide: " + answer.GetResult().GetText())
	}
	return err
}

// dataOf reads the data of a type from a file.
func dataOf(name, file string) (*anypb.Any, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var data proto.Message = &structpb.Struct{}
	if t, known := event.Lookup(name); known {
		data = t.Data.ProtoReflect().New().Interface()
	}
	if err := protojson.Unmarshal(raw, data); err != nil {
		return nil, fmt.Errorf("%s is no data of %s: %w", file, name, err)
	}
	return anypb.New(data)
}

// testRow is a test in JSON.
type testRow struct {
	Handler  string          `json:"handler"`
	Type     string          `json:"type"`
	Outcome  string          `json:"outcome"`
	Text     string          `json:"text,omitempty"`
	Decision string          `json:"decision"`
	Reason   string          `json:"reason,omitempty"`
	Status   int32           `json:"status,omitempty"`
	Took     string          `json:"took"`
	Changes  []change        `json:"changes,omitempty"`
	Sent     json.RawMessage `json:"sent,omitempty"`
	Received json.RawMessage `json:"received,omitempty"`
}

type change struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func rowOf(a *provisionv1.TestRunResponse) testRow {
	r := a.GetResult()
	row := testRow{
		Handler: r.GetHandler(), Type: a.GetType(), Outcome: word(r.GetOutcome().String(), "OUTCOME_"), Text: r.GetText(),
		Decision: word(a.GetDecision().String(), "DECISION_"), Reason: a.GetReason(), Status: r.GetStatus(), Took: r.GetTook().AsDuration().String(),
		Sent: body(a.GetSent()), Received: body(a.GetReceived()),
	}
	for _, c := range r.GetChanges() {
		row.Changes = append(row.Changes, change{c.GetPath(), c.GetBefore(), c.GetAfter()})
	}
	return row
}

// body is JSON as it is, and anything else as a text.
func body(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	if json.Valid(b) {
		return b
	}
	text, err := json.Marshal(strings.ToValidUTF8(string(b), "\uFFFD"))
	if err != nil {
		return nil
	}
	return text
}

func linesOf(a *provisionv1.TestRunResponse) [][2]string {
	row := rowOf(a)
	lines := [][2]string{{"handler", row.Handler}, {"event type", row.Type}, {"outcome", row.Outcome}, {"decision", row.Decision}}
	for _, l := range [][2]string{{"reason", row.Reason}, {"text", row.Text}} {
		if l[1] != "" {
			lines = append(lines, l)
		}
	}
	if row.Status != 0 {
		lines = append(lines, [2]string{"status", fmt.Sprint(row.Status)})
	}
	lines = append(lines, [2]string{"took", row.Took}, [2]string{"sent", string(row.Sent)}, [2]string{"received", string(row.Received)})
	for _, c := range row.Changes {
		lines = append(lines, [2]string{"changed " + c.Path, c.Before + " to " + c.After})
	}
	return lines
}
