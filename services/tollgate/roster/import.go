package roster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
)

// Stage is what an import is doing.
type Stage int

// Stages, in their order. Progress of the first is in bytes, of the second in rows.
const (
	Checking Stage = iota
	Sending
)

// Import is one file on its way in. All fields are set but those said to be optional.
type Import struct {
	File string
	Form
	// Classes, where given, are what rows are compared with.
	Classes Classes
	// Conn leads to ingest.
	Conn *grpc.ClientConn
	// Journal is the file that keeps how far it went.
	Journal string
	// FromStart sends every row, whatever the journal says.
	FromStart bool
	// DryRun ends once every row is judged.
	DryRun bool
	// Patience is how long ingest may take no row before the import gives up.
	Patience time.Duration

	// Faulty is told each row that is at fault or that ingest refused; nil: nobody is.
	Faulty func(Fault)
	// Progress is told now and then how far a stage is; nil: nobody is.
	Progress func(stage Stage, done, total int64)

	// wait is what passes between two tries; sleep unless a test says otherwise.
	wait func(context.Context, time.Duration) error
}

// Summary is what became of a file.
type Summary struct {
	Rows int64 `json:"rows"`
	// Faulty rows: where there is one, none was sent.
	Faulty int64 `json:"faulty"`
	// Accepted and Refused are ingest's answers, those of earlier runs included; Earlier is how many those had.
	Accepted int64 `json:"accepted"`
	Refused  int64 `json:"refused"`
	Earlier  int64 `json:"earlier"`
	// Seconds is how long sending took, the last answer included.
	Seconds float64 `json:"seconds"`
}

// Run judges every row and then sends those that the journal does not have. Its summary holds as far as it came, also
// beside an error. Rows at fault are no error: they are counted and told.
func (i Import) Run(ctx context.Context) (sum Summary, err error) {
	if i.Faulty == nil {
		i.Faulty = func(Fault) {}
	}
	if i.Progress == nil {
		i.Progress = func(Stage, int64, int64) {}
	}
	if i.wait == nil {
		i.wait = sleep
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
