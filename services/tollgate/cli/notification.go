package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Trigger are the flags of commands that call the trigger service.
type Trigger struct {
	command.Key
	command.Listing
	Address string `name:"trigger" env:"TOLLGATE_TRIGGER_ADDR" default:"127.0.0.1:7040" help:"Trigger service; ${default} by default." placeholder:"HOST:PORT"`
	Tenant  string `env:"TOLLGATE_TENANT" help:"Id of the tenant, where the name does not have it." placeholder:"ID"`
}

// ask calls the trigger service.
func (c Trigger) ask(call func(triggerv1.RuleServiceClient) error) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	if err := call(triggerv1.NewRuleServiceClient(conn)); err != nil {
		return explained("trigger", c.Address, err)
	}
	return nil
}

// write shows an answer as lines, or whole.
func (c Trigger) write(streams command.Streams, answer proto.Message, columns []string, rows [][]string) error {
	if c.Output == "table" {
		c.Width = 100
		return command.Write(c.Listing, streams.Out, rows, columns, func(r []string) []string { return r })
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(answer)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return command.Write(c.Listing, streams.Out, []json.RawMessage{raw}, nil, nil)
}

// Tried is a notification: one that is stored, or the one of a file.
type Tried struct {
	Trigger
	Name string `arg:"" optional:"" help:"Full name of a stored notification, or its code beside --tenant."`
	File string `short:"f" help:"Take the one notification of this file instead, which need not be stored." placeholder:"FILE"`
}

// AfterApply is called by kong once the flags are read.
func (c Tried) AfterApply() error {
	if (c.Name == "") == (c.File == "") {
		return command.UsageError("either NAME or --file is required")
	}
	if c.Name != "" {
		if _, err := manifest.NameOf("Notification", c.Tenant, c.Name); err != nil {
			return command.UsageError("NAME " + err.Error())
		}
	}
	return nil
}

// read returns the name, or the notification of the file.
func (c Tried) read() (name string, n *configv1.Notification, err error) {
	if c.File == "" {
		name, err = manifest.NameOf("Notification", c.Tenant, c.Name)
		return name, nil, err
	}
	docs, err := manifest.Read(c.File)
	if err != nil {
		return "", nil, err
	}
	if len(docs) == 1 {
		n, _ = docs[0].Resource.(*configv1.Notification)
	}
	if n == nil {
		return "", nil, command.UsageError(c.File + " must have one document, of kind Notification")
	}
	return "", n, nil
}

// positionOf reads where an event stands, as tollgate send prints it.
func positionOf(text string) (*triggerv1.EventPosition, bool) {
	parts := strings.Split(text, "/")
	if len(parts) != 3 {
		return nil, false
	}
	partition, err := strconv.ParseInt(parts[1], 10, 32)
	offset, errOffset := strconv.ParseInt(parts[2], 10, 64)
	return &triggerv1.EventPosition{Topic: parts[0], Partition: int32(partition), Offset: offset}, err == nil && errOffset == nil
}

// momentOf reads a time, or how long ago it was; nil for none.
func momentOf(text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return timestamppb.New(t), nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return timestamppb.New(now.AddDate(0, 0, -n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return timestamppb.New(now.Add(-ago)), nil
	}
	return nil, command.UsageError(fmt.Sprintf("%q must be a time such as 2026-11-30T08:00:00Z, or how long ago, such as 36h or 7d", text))
}

// followed hands over each message of a stream.
func followed[T any](stream grpc.ServerStreamingClient[T], err error, each func(*T)) error {
	for err == nil {
		var m *T
		if m, err = stream.Recv(); err == nil {
			each(m)
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// previewNotification renders what a notification sends.
type previewNotification struct {
	Tried
	Type  string `help:"Type of a sample event; the first of the trigger by default." placeholder:"TYPE"`
	Event string `help:"An event of the log instead; the position is in the output of tollgate send." placeholder:"TOPIC/PARTITION/OFFSET"`
}

// Help is shown below the flags.
func (previewNotification) Help() string {
	return `Shows the messages that a notification would send for a sample or for a past event, and what its filter makes of the event,
part by part. Nothing is sent; personal data is masked.

Example:

    tollgate notification preview limits --tenant acme

    tollgate notification preview -f limits.yaml --event events.ordered/3/1042 -o json`
}

// Run previews.
func (c previewNotification) Run(ctx context.Context, streams command.Streams) error {
	name, n, err := c.read()
	if err != nil {
		return err
	}
	req := &triggerv1.PreviewRequest{Rule: &triggerv1.PreviewRequest_Name{Name: name}}
	if n != nil {
		req.Rule = &triggerv1.PreviewRequest_Notification{Notification: n}
	}
	switch {
	case c.Event != "" && c.Type != "":
		return command.UsageError("--type and --event exclude each other")
	case c.Event != "":
		at, ok := positionOf(c.Event)
		if !ok {
			return command.UsageError("--event must be TOPIC/PARTITION/OFFSET, such as events.ordered/3/1042")
		}
		req.Event = &triggerv1.PreviewRequest_Position{Position: at}
	case c.Type != "":
		req.Event = &triggerv1.PreviewRequest_EventType{EventType: c.Type}
	}
	var p *triggerv1.PreviewResponse
	err = c.ask(func(client triggerv1.RuleServiceClient) (err error) {
		p, err = client.Preview(ctx, req)
		return err
	})
	if err != nil {
		return err
	}
	rows := [][]string{{"event", p.GetEvent().GetType() + " " + p.GetEvent().GetId() + " of " + p.GetEvent().GetSubject()}, {"matches", yes(&p.Matches)}}
	if p.GetFilterError() != "" {
		rows = append(rows, []string{"filter error", p.GetFilterError()})
	}
	rows = append(rows, partRows(p.GetFilterParts())...)
	return c.write(streams, p, []string{"preview", "value"}, append(rows, messageRows("", p.GetMessages())...))
}

// partRows are the parts of a filter, each indented below what it is a part of.
func partRows(parts []*triggerv1.FilterPart) (rows [][]string) {
	for _, p := range parts {
		value := p.GetValue()
		if p.GetError() != "" {
			value = p.GetError()
		}
		rows = append(rows, []string{"filter", strings.Repeat("  ", int(p.GetDepth())) + p.GetExpression() + " is " + value})
	}
	return rows
}

func messageRows(before string, messages []*triggerv1.PreviewedMessage) (rows [][]string) {
	for _, m := range messages {
		to := strings.TrimSpace(m.GetTarget() + " " + m.GetRecipient())
		rows = append(rows, []string{before + m.GetAction(), to})
		if m.GetProblem() != "" {
			rows = append(rows, []string{before + m.GetAction() + " problem", m.GetProblem()})
		}
		if len(m.GetBody()) > 0 {
			rows = append(rows, []string{before + m.GetAction() + " body", strings.ToValidUTF8(string(m.GetBody()), "\uFFFD")})
		}
	}
	return rows
}
