package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// sendCommand publishes events.
type sendCommand struct {
	command.Key
	File    string `short:"f" required:"" help:"File with one event a line; - reads standard input." placeholder:"FILE|-"`
	Output  string `short:"o" enum:"text,json" default:"text" help:"How each answer is written: text or json."`
	Address string `name:"ingest" env:"TOLLGATE_INGEST_ADDR" default:"127.0.0.1:7020" help:"Ingest service; ${default} by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (sendCommand) Help() string {
	return `Each line is a CloudEvent as a JSON object. Each gets a line of output, in the same order: the position of the accepted
event on Kafka, or all its violations. An invalid line does not affect the others; the exit code is 1 where one was
rejected. An event without a result may have been accepted: send it again under the same id.

Example:

    tollgate send -f events.jsonl

    echo '{"specversion":"1.0","id":"1","source":"crm","type":"client.created","tenant":"acme","subject":"client/42","time":"2026-11-23T10:00:00Z","data":{}}' | tollgate send -f -`
}

// reply is the result of one line.
type reply struct {
	Line       int      `json:"line"`
	ID         string   `json:"id,omitempty"`
	Topic      string   `json:"topic,omitempty"`
	Partition  *int32   `json:"partition,omitempty"`
	Offset     *int64   `json:"offset,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	Violations []string `json:"faults,omitempty"`
}

func (r reply) String() string {
	if r.Reason == "" {
		return fmt.Sprintf("%s accepted at %s/%d/%d", display.Text(r.ID, command.MaxCell), r.Topic, *r.Partition, *r.Offset)
	}
	id := display.Text(r.ID, command.MaxCell)
	if id == "" {
		id = fmt.Sprintf("line %d", r.Line)
	}
	return fmt.Sprintf("%s refused: %s: %s", id, r.Reason, display.Text(strings.Join(r.Violations, "; "), command.MaxLine))
}

// Run sends.
func (c sendCommand) Run(ctx context.Context, streams command.Streams) error {
	in, size := streams.In, int64(0)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		defer command.Close(f)
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
		in = f
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ingestv1.NewIngestServiceClient(conn).PublishStream(ctx)
	if err != nil {
		return fmt.Errorf("ingest service at %s: %w", c.Address, err)
	}
	progress := showProgress(streams, size)
	s := &sending{stream: stream, sent: make(chan reply, maxUnanswered)}
	go s.send(ctx, progress.reads(in))
	refused, err := s.answer(func(r reply) error { return c.print(streams.Out, r) })
	progress.end()
	switch {
	case err != nil:
		return fmt.Errorf("ingest service at %s: %w", c.Address, err)
	case refused > 0:
		return command.ErrReported
	}
	return nil
}

func (c sendCommand) print(w io.Writer, r reply) error {
	if c.Output == "text" {
		_, err := fmt.Fprintln(w, r)
		return err
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// maxUnanswered is how many events may be without a result.
const maxUnanswered = 4096

// sending is one stream of events: send reads lines, answer reports their results in order.
type sending struct {
	stream ingestv1.IngestService_PublishStreamClient
	// sent holds each line that was read: what was refused here with its reason, what is on its way without one.
	sent chan reply
	// failed is why no more lines are sent; read it once sent is closed.
	failed error
}

func (s *sending) send(ctx context.Context, in io.Reader) {
	defer close(s.sent)
	lines := newLineReader(in)
	for {
		text, err := lines.next()
		if len(bytes.TrimSpace(text)) > 0 && !s.line(ctx, lines.number, text) {
			return
		}
		if errors.Is(err, io.EOF) {
			s.failed = s.stream.CloseSend()
			return
		}
		if err != nil {
			s.failed = errors.Join(fmt.Errorf("read events: %w", err), s.stream.CloseSend())
			return
		}
	}
}

// line sends one event; false where the stream has ended.
func (s *sending) line(ctx context.Context, number int, text []byte) bool {
	e, err := event.Parser{Tenants: event.Unchecked}.JSON(text)
	r := reply{Line: number}
	if e != nil {
		r.ID = e.ID
	}
	if err != nil {
		r.refuse(err)
	}
	select {
	case s.sent <- r:
	case <-ctx.Done():
		return false
	}
	if err != nil {
		return true
	}
	// Where the stream ended, the receiving side returns why.
	return s.stream.Send(&ingestv1.PublishStreamRequest{Event: e.Proto()}) == nil
}

func (r *reply) refuse(err error) {
	r.Reason = fault.ReasonOf(err)
	for _, v := range fault.Listed(err) {
		r.Violations = append(r.Violations, v.String())
	}
	if len(r.Violations) == 0 {
		r.Violations = []string{err.Error()}
	}
}

// answer calls report for each line, and counts those that were rejected. The error is why the stream ended early.
func (s *sending) answer(report func(reply) error) (refused int, err error) {
	var results []*ingestv1.Result
	for r := range s.sent {
		if r.Reason == "" {
			if len(results) == 0 && err == nil {
				results, err = s.receive()
			}
			if err != nil {
				r.Reason, r.Violations = reason.OutcomeUnknown, []string{"no answer came; send it again under the same id"}
			} else {
				r.read(results[0])
				results = results[1:]
			}
		}
		if r.Reason != "" {
			refused++
		}
		if reportErr := report(r); reportErr != nil {
			return refused, reportErr
		}
	}
	if err == nil {
		err = s.failed
	}
	return refused, err
}

// receive waits for the next results, at least one.
func (s *sending) receive() ([]*ingestv1.Result, error) {
	for {
		res, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil, errors.New("it ended the stream without a result for every event")
		}
		if err != nil {
			return nil, err
		}
		if len(res.GetResults()) > 0 {
			return res.GetResults(), nil
		}
	}
}

func (r *reply) read(result *ingestv1.Result) {
	if e := result.GetError(); e != nil {
		r.refuse(fault.FromGRPC(status.FromProto(e).Err()))
		return
	}
	receipt := result.GetReceipt()
	partition, offset := receipt.GetPartition(), receipt.GetOffset()
	r.ID, r.Topic, r.Partition, r.Offset = receipt.GetId(), receipt.GetTopic(), &partition, &offset
}
