package subscriberimport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/fault"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

const (
	// window is how many rows may be unacknowledged.
	window = 16384
	// rowsPerMessage is how many rows one message holds.
	rowsPerMessage = 256
	// saveEvery is how often the journal is written: after a crash the rows since then are sent again.
	saveEvery = time.Second
	// Between two tries ingest gets this long, doubled up to the most.
	leastPause, mostPause = 100 * time.Millisecond, 5 * time.Second
)

// sending sends the rows of a file that the journal does not have.
type sending struct {
	Import
	file    *os.File
	rows    int64
	journal *journal
	saved   time.Time
}

// run tries until every row is settled, until an error cannot pass by itself, or until no row was accepted for as long
// as Patience. It always writes the journal at its end.
func (s *sending) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.journal.save(s.Journal, time.Now())) }()
	last, between := time.Now(), leastPause
	for {
		before := s.journal.Offset
		err := s.pass(ctx)
		if err == nil {
			s.journal.Complete = true
			return nil
		}
		if k := fault.KindOf(err); k != fault.Unavailable && k != fault.Throttled || ctx.Err() != nil {
			return err
		}
		if s.journal.Offset > before {
			last, between = time.Now(), leastPause
		}
		if time.Since(last) > s.Patience {
			return fmt.Errorf("no row was accepted for %s: %w", s.Patience, err)
		}
		if !s.wait(ctx, between) {
			return ctx.Err()
		}
		between = min(2*between, mostPause)
	}
}

// sent is a row that waits for its result.
type sent struct {
	line int
	end  int64
}

// pass sends the rows after the journal's offset over one stream, and settles them in order as results arrive.
func (s *sending) pass(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ingestv1.NewIngestServiceClient(s.Conn).PublishStream(ctx)
	if err != nil {
		return err
	}
	waiting := make(chan sent, window)
	read := make(chan error, 1)
	go func() {
		defer close(waiting)
		err := s.send(ctx, stream, s.journal.Offset, waiting)
		if err != nil {
			cancel() // the server does not learn that the stream is at its end
		}
		read <- err
	}()
	err = s.settle(stream, waiting)
	cancel()
	if readErr := <-read; err == nil || readErr != nil && !errors.Is(readErr, context.Canceled) {
		return readErr
	}
	return err
}

// errChanged: the file is not the one that was validated.
var errChanged = errors.New("it was changed during the import: no row counts twice, run the import again")

// send reads and sends rows; its error concerns the file. The receiving side returns why the stream ended.
func (s *sending) send(ctx context.Context, stream ingestv1.IngestService_PublishStreamClient, from int64, waiting chan<- sent) error {
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	r, err := newReader(s.file, s.Form)
	if err != nil {
		return errors.Join(err, errChanged)
	}
	for r.end < from {
		if _, err := r.cells(); err != nil {
			return errors.Join(err, errChanged)
		}
	}
	req := &ingestv1.PublishStreamRequest{}
	for {
		row, err := r.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if atEnd := err != nil; atEnd || len(req.Events) == rowsPerMessage {
			if len(req.Events) > 0 && stream.Send(req) != nil {
				return nil //nolint:nilerr // the receiving side returns the reason
			}
			if atEnd {
				return stream.CloseSend()
			}
			req.Events = req.Events[:0]
		}
		if row.faults.Len() > 0 {
			return errChanged
		}
		e, err := row.event(s.Tenant)
		if err != nil {
			return err
		}
		req.Events = append(req.Events, e)
		select {
		case waiting <- sent{r.line, r.end}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// settle receives results until the server ends the stream, which it does after the result of the last row.
func (s *sending) settle(stream ingestv1.IngestService_PublishStreamClient, waiting <-chan sent) error {
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if _, open := <-waiting; open {
				return fault.New(fault.Unavailable, "STREAM_ENDED", "ingest ended the stream without answering every row")
			}
			return nil
		}
		if err != nil {
			return err
		}
		for _, result := range res.GetResults() {
			row, open := <-waiting
			if !open {
				return errors.New("ingest returned more results than rows were sent")
			}
			if err := s.answer(row, result); err != nil {
				return err
			}
		}
		s.Progress(Sending, s.journal.settled(), s.rows)
		if time.Since(s.saved) >= saveEvery {
			if err := s.journal.save(s.Journal, time.Now()); err != nil {
				return err
			}
			s.saved = time.Now()
		}
	}
}

// answer settles one row. A row that ingest could not accept now is an error: it and all rows after it are sent again.
func (s *sending) answer(row sent, result *ingestv1.Result) error {
	if e := result.GetError(); e != nil {
		err := fault.FromGRPC(status.FromProto(e).Err())
		if k := fault.KindOf(err); k == fault.Unavailable || k == fault.Throttled {
			return err
		}
		s.journal.Refused++
		violations := fault.Listed(err)
		if len(violations) == 0 {
			violations = []fault.Violation{{Description: err.Error()}}
		}
		s.Faulty(Fault{row.line, violations})
	} else {
		s.journal.Accepted++
	}
	s.journal.Offset = row.end
	return nil
}
