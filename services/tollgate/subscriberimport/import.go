package subscriberimport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/pause"
)

// Stage is a stage of an import.
type Stage int

// Stages, in their order. Progress of the first is in bytes, of the second in rows.
const (
	Checking Stage = iota
	Sending
)

// Import is the import of one file. All fields are required except those called optional.
type Import struct {
	File string
	Form
	// Classes, where given, are the classes of service that rows are checked against.
	Classes Classes
	// Conn is the connection to ingest.
	Conn *grpc.ClientConn
	// Journal is the file that holds the progress.
	Journal string
	// FromStart sends every row, whatever the journal holds.
	FromStart bool
	// DryRun ends once every row is validated.
	DryRun bool
	// Patience is how long ingest may accept no row before the import ends.
	Patience time.Duration

	// Faulty, optional, is called for each faulty row and for each row that ingest rejected.
	Faulty func(Fault)
	// Progress, optional, is called from time to time with the progress of a stage.
	Progress func(stage Stage, done, total int64)

	// wait is the pause between two tries, false where ctx ended; pause.For unless a test replaces it.
	wait func(context.Context, time.Duration) bool
}

// Summary is the result of an import.
type Summary struct {
	Rows int64 `json:"rows"`
	// Faulty rows: where there is one, none was sent.
	Faulty int64 `json:"faulty"`
	// Accepted and Refused count ingest's results, including those of earlier runs; Earlier counts those of earlier
	// runs.
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Earlier  int64 `json:"earlier"`
	// Seconds is the duration of sending, including the last result.
	Seconds float64 `json:"seconds"`
}

// Run validates every row and then sends those that the journal does not have. The summary shows the progress, also
// together with an error. Faulty rows are not an error: they are counted and reported.
func (i Import) Run(ctx context.Context) (sum Summary, err error) {
	if i.Faulty == nil {
		i.Faulty = func(Fault) {}
	}
	if i.Progress == nil {
		i.Progress = func(Stage, int64, int64) {}
	}
	if i.wait == nil {
		i.wait = pause.For
	}
	f, err := os.Open(i.File)
	if err != nil {
		return sum, fmt.Errorf("read subscribers: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	c, err := i.check(ctx, f)
	sum.Rows, sum.Faulty = c.rows, c.faulty
	if err != nil {
		return sum, fmt.Errorf("read subscribers: %s: %w", i.File, err)
	}
	if c.faulty > 0 || i.DryRun {
		return sum, nil
	}
	j, err := i.journal(c.sum)
	if err != nil {
		return sum, err
	}
	sum.Earlier = j.settled()
	began := time.Now()
	if !j.Complete {
		err = (&sending{Import: i, file: f, rows: c.rows, journal: j}).run(ctx)
		sum.Seconds = time.Since(began).Seconds()
	}
	sum.Accepted, sum.Refused = j.Accepted, j.Refused
	return sum, err
}

func (i Import) journal(sum string) (*journal, error) {
	if i.FromStart {
		if err := os.Remove(i.Journal); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("start anew: %w", err)
		}
	}
	return resume(i.Journal, i.Form, sum)
}
