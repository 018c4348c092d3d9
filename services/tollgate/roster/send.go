package roster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"google.golang.org/grpc/status"
)

const (
	// window is how many rows may be on their way.
	window = 16384
	// together is how many rows are sent in one message.
	together = 256
	// saveEvery is how often the journal is written: as much is sent again after a crash.
	saveEvery = time.Second
	// Between two tries ingest gets this long, doubled up to the most.
	leastPause, mostPause = 100 * time.Millisecond, 5 * time.Second
)

// sending brings the rows of a file to ingest that the journal does not have.
type sending struct {
	Import
	file    *os.File
	rows    int64
	journal *journal
	saved   time.Time
}

// run tries until every row is settled, until what fails cannot succeed by itself, or until nothing was taken for as long
// as patience lasts. The journal is written however it ends.
func (s *sending) run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, s.journal.save(s.Journal, time.Now())) }()
	last, pause := time.Now(), leastPause
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
			last, pause = time.Now(), leastPause
		}
		if time.Since(last) > s.Patience {
			return fmt.Errorf("nothing was taken for %s: %w", s.Patience, err)
		}
		if err := s.wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, mostPause)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sent is a row that waits for its answer.
type sent struct {
	line int
	end  int64
}

// pass sends the rows behind the journal's offset over one stream, and settles them as they are answered, in order.
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
			cancel() // nobody is told that the stream is at its end
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

// errChanged tells that the file is no longer what was judged.
var errChanged = errors.New("it was changed while it was imported: nothing of it is doubled, run the import again")

// send reads rows and sends them; an error is one of the file's. Why the stream ends is told by its reading side.
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
		if atEnd := err != nil; atEnd || len(req.Events) == together {
			if len(req.Events) > 0 && stream.Send(req) != nil {
				return nil //nolint:nilerr // the answers end with the reason
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

// settle takes answers until the server ends the stream, which it does once the last row is answered.
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
				return errors.New("ingest answered more rows than it was sent")
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

// answer settles one row. What ingest could not take now is an error: the row and all behind it are sent again.
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
