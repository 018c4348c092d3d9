package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Subscribe follows the event queue.
type Subscribe struct {
	command.Key
	Tenant  string   `required:"" help:"Whose events." placeholder:"ID"`
	Type    []string `required:"" help:"These types, divided by commas; usage.* is all of an entity, * all." placeholder:"TYPE"`
	Filter  string   `help:"Only events for which this CEL expression is true." placeholder:"CEL"`
	Name    string   `help:"The subscription whose position is kept: the next call goes on behind what this one has shown." placeholder:"NAME"`
	Start   string   `help:"Where to begin without a position: earliest, latest, so long ago such as 10m, a time, or a cursor. Without a name, latest by default." placeholder:"WHERE"`
	Reset   bool     `name:"reset-position" help:"Begin at --start although the name has a position, which is given up."`
	Ordered bool     `help:"Wait with the next event of a subject until the one before is acknowledged."`
	JSON    bool     `name:"json" help:"Write each event as a line of JSON, with its cursor."`
	Limit   int      `help:"End after so many events." placeholder:"N"`
	Address string   `name:"ingest" env:"TOLLGATE_INGEST_ADDR" default:"127.0.0.1:7020" help:"Ingest service; ${default} by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (Subscribe) Help() string {
	return `Needs no Kafka: events come from EventQueueService, and each is acknowledged once it is written. What the API key may not see is left
out. A # is the number of a sending after the first, ~ marks what may have been sent before. Ctrl-C ends it.

Example:

    tollgate queue subscribe --tenant acme --type 'usage.*' --filter 'data.roaming' --start 10m

    tollgate queue subscribe --tenant acme --type 'client.*' --name crm --start earliest --json`
}

// AfterApply is called by kong once the flags are read.
func (c Subscribe) AfterApply() error {
	var faults []error
	if _, err := c.start(time.Now()); err != nil {
		faults = append(faults, err)
	}
	if c.Reset && c.Start == "" {
		faults = append(faults, errors.New("--reset-position needs --start"))
	}
	if c.Limit < 0 {
		faults = append(faults, fmt.Errorf("--limit must not be negative, is %d", c.Limit))
	}
	if len(faults) > 0 {
		return command.UsageError(errors.Join(faults...).Error())
	}
	return nil
}

// start reads --start; nil where there is none.
func (c Subscribe) start(now time.Time) (*ingestv1.Start, error) {
	at := &ingestv1.Start{ResetPosition: c.Reset}
	ago, notAgo := time.ParseDuration(c.Start)
	moment, notMoment := time.Parse(time.RFC3339, c.Start)
	switch {
	case c.Start == "" && c.Name != "":
		return nil, nil //nolint:nilnil // the position of the name
	case c.Start == "earliest":
		at.At = &ingestv1.Start_Earliest{Earliest: &emptypb.Empty{}}
	case c.Start == "latest", c.Start == "":
		at.At = &ingestv1.Start_Latest{Latest: &emptypb.Empty{}}
	case notAgo == nil && ago > 0:
		at.At = &ingestv1.Start_Time{Time: timestamppb.New(now.Add(-ago))}
	case notMoment == nil:
		at.At = &ingestv1.Start_Time{Time: timestamppb.New(moment)}
	case len(c.Start) >= minCursor:
		at.At = &ingestv1.Start_Cursor{Cursor: c.Start}
	default:
		return nil, fmt.Errorf("--start %q is neither earliest, latest, so long ago such as 10m, a time such as 2026-11-30T10:00:00Z, nor a cursor", c.Start)
	}
	return at, nil
}

// minCursor is shorter than any cursor, and longer than a time.
const minCursor = 40

// Run follows until interrupted, which is its ordinary end.
func (c Subscribe) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	start, err := c.start(time.Now())
	if err != nil {
		return err
	}
	calling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s, err := ingestv1.NewEventQueueServiceClient(conn).Subscribe(calling)
	if err == nil {
		err = s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: &ingestv1.Subscription{
			Tenant: c.Tenant, Name: c.Name, Types: c.Type, Filter: c.Filter, Ordered: c.Ordered, Start: start,
		}}})
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("ingest service at %s: %w", c.Address, err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = s.CloseSend() // so that the service stores what was acknowledged
		patience := time.AfterFunc(endWithin, cancel)
		context.AfterFunc(calling, func() { patience.Stop() })
	})
	defer stop()
	if err := c.follow(s, streams); err != nil && ctx.Err() == nil {
		return fmt.Errorf("ingest service at %s: %w", c.Address, err)
	}
	return nil
}

// endWithin is how long the end of the stream is waited for.
const endWithin = 3 * time.Second

func (c Subscribe) follow(s ingestv1.EventQueueService_SubscribeClient, streams command.Streams) error {
	shown := 0
	for {
		res, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		last := ""
		for _, e := range res.GetEvents() {
			if c.Limit > 0 && shown == c.Limit {
				break // what follows is not acknowledged
			}
			if err := c.print(streams.Out, e); err != nil {
				return err
			}
			shown++
			last = e.GetCursor()
		}
		if last != "" {
			if err := s.Send(&ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Ack{Ack: &ingestv1.Ack{Cursor: last}}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
		}
		if c.Limit > 0 && shown == c.Limit {
			return end(s)
		}
	}
}

// end finishes the stream: once it has ended, the position is stored.
func end(s ingestv1.EventQueueService_SubscribeClient) error {
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		if _, err := s.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// queued is an event of the queue as a line of JSON.
type queued struct {
	ReceivedAt      time.Time       `json:"received_at"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Tenant          string          `json:"tenant"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	Correlation     string          `json:"correlation,omitempty"`
	Data            json.RawMessage `json:"data,omitempty"`
	Cursor          string          `json:"cursor"`
	Sending         int32           `json:"sending"`
	MayHaveBeenSeen bool            `json:"may_have_been_seen,omitempty"`
}

func (c Subscribe) print(w io.Writer, one *ingestv1.QueuedEvent) error {
	e := one.GetEvent()
	var data []byte
	if e.GetData() != nil {
		message, err := e.GetData().UnmarshalNew()
		if err != nil {
			return fmt.Errorf("read event %s: %w", display.Text(e.GetId(), command.MaxCell), err)
		}
		if data, err = (protojson.MarshalOptions{UseProtoNames: true}).Marshal(message); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		if data, err = json.Marshal(json.RawMessage(data)); err != nil { // Protobuf's own spaces vary from build to build
			return fmt.Errorf("write event: %w", err)
		}
	}
	line := queued{
		ReceivedAt: e.GetReceivedAt().AsTime(), ID: e.GetId(), Source: e.GetSource(), Type: e.GetType(), Tenant: e.GetTenant(), Subject: e.GetSubject(),
		Time: e.GetTime().AsTime(), Correlation: e.GetCorrelation(), Data: data, Cursor: one.GetCursor(), Sending: one.GetSending(),
		MayHaveBeenSeen: one.GetMayHaveBeenSeen(),
	}
	if c.JSON {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		return out.Encode(line)
	}
	var marks strings.Builder
	if line.Sending > 1 {
		fmt.Fprintf(&marks, "#%d", line.Sending)
	}
	if line.MayHaveBeenSeen {
		marks.WriteString("~")
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s%s %s\n", line.ReceivedAt.Format(event.TimeLayout), display.Text(line.Type, command.MaxCell),
		display.Text(line.Tenant+"/"+line.Subject, command.MaxCell), display.Text(line.ID, command.MaxCell), marks.String(),
		display.Text(string(data), command.MaxLine))
	return err
}
