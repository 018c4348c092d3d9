package records

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/tollgate/tollgate/pkg/display"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/receipts"
)

type VerifyReceipts struct {
	Attempts
	File   string `arg:"" help:"The receiver's log; - is standard input." placeholder:"FILE"`
	Export string `type:"existingfile" help:"Compare with this export of deliveries export; with Kafka's deliveries.attempts by default." placeholder:"FILE"`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// Help is shown below the flags.
func (VerifyReceipts) Help() string {
	return `The log is one JSON object a line, in the order of receipt: {"id", "sequence", "previous", "received_at"}: the id,
sequence and previous of the delivery as the receiver got them, and the time by the receiver's clock. Sequence and previous are
absent where they were not sent. Compared are the endpoints that the log has deliveries of.

A delivery is lost where an attempt was answered 2xx within the time of the log and the log does not have it. A gap in an order
is explained by its settlement: dead, expired, superseded, cancelled. Repeats are what the receiver should drop by id. Exits 1
where anything is lost, out of order or unexplained.

Example:

    tollgate verify-receipts receipts.jsonl --from 24h

    tollgate verify-receipts receipts.jsonl --export attempts.jsonl -o json`
}

// Run compares.
func (c VerifyReceipts) Run(ctx context.Context, streams command.Streams) error {
	log, err := c.receipts(streams)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	v := receipts.NewVerifier()
	if c.Export == "" {
		err = c.each(ctx, "", streams, func(a receipts.Attempt) error { v.Take(a); return nil })
	} else {
		err = c.export(v.Take)
	}
	if err != nil {
		return err
	}
	report := v.Verify(log)
	if err := c.print(streams.Out, &report); err != nil {
		return err
	}
	if !report.OK() {
		return command.ErrReported
	}
	return nil
}

func (c VerifyReceipts) receipts(streams command.Streams) ([]receipts.Receipt, error) {
	if c.File == "-" {
		return receipts.ReadReceipts(streams.In)
	}
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer command.Close(f)
	return receipts.ReadReceipts(f)
}

func (c VerifyReceipts) export(take func(receipts.Attempt)) error {
	f, err := os.Open(c.Export)
	if err != nil {
		return err
	}
	defer command.Close(f)
	if err := receipts.ReadAttempts(f, take); err != nil {
		return fmt.Errorf("%s: %w", c.Export, err)
	}
	return nil
}

func (c VerifyReceipts) print(w io.Writer, r *receipts.Report) error {
	if c.Output == "json" {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	fmt.Fprintf(w, "receipts %d, of %d deliveries\n", r.Receipts, r.Received)
	fmt.Fprintf(w, "lost %d, out of order %d\n", len(r.Lost), len(r.OutOfOrder))
	for _, reason := range slices.Sorted(maps.Keys(r.Gaps)) {
		fmt.Fprintf(w, "gaps explained by %s: %d\n", display.Text(reason, command.MaxCell), r.Gaps[reason])
	}
	fmt.Fprintf(w, "gaps unexplained %d\n", len(r.Unexplained))
	fmt.Fprintf(w, "repeats %d by recorded attempts, %d in flight when a process ended\n", r.Repeats.Attempts, r.Repeats.InFlight)
	fmt.Fprintf(w, "not received: %d still wait, %d lie outside the time of the log or the export\n", r.Waiting, r.Outside)
	for _, of := range []struct {
		what string
		all  []receipts.Finding
	}{
		{"lost", r.Lost},
		{"out of order", r.OutOfOrder},
		{"unexplained", r.Unexplained},
		{"differs", r.Differing},
		{"not recorded", r.Unrecorded},
	} {
		for i, f := range of.all {
			if i == command.MaxLines {
				fmt.Fprintf(w, "%s: %d more\n", of.what, len(of.all)-i)
				break
			}
			fmt.Fprintf(w, "%s: %s %s\n", of.what, display.Text(f.ID, command.MaxCell), display.Text(f.Detail, command.MaxLine))
		}
	}
	return nil
}
