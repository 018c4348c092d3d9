package subscriberimport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// scriptedIngest is an ingest service that keeps what it was sent, by id, and fails as set.
type scriptedIngest struct {
	ingestv1.UnimplementedIngestServiceServer
	// mu guards all of it: the stream of an import that was broken off may still be there beside the next one.
	mu                sync.Mutex
	streams, received int
	// kept counts each id that was accepted.
	kept map[string]int
	// answer, where set, decides about the nth event of all streams, from 1. An error ends the stream.
	answer func(n int, e *eventv1.Event) (*ingestv1.Result, error)
}

func (s *scriptedIngest) PublishStream(stream grpc.BidiStreamingServer[ingestv1.PublishStreamRequest, ingestv1.PublishStreamResponse]) error {
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range req.GetEvents() {
			s.mu.Lock()
			s.received++
			n, answer := s.received, s.answer
			s.mu.Unlock()
			result := &ingestv1.Result{Result: &ingestv1.Result_Receipt{Receipt: &ingestv1.Receipt{Id: e.GetId()}}}
			if answer != nil {
				other, err := answer(n, e)
				if err != nil {
					return fault.Status(err).Err()
				}
				if other != nil {
					result = other
				}
			}
			if result.GetReceipt() != nil {
				s.mu.Lock()
				s.kept[e.GetId()]++
				s.mu.Unlock()
			}
			if err := stream.Send(&ingestv1.PublishStreamResponse{Results: []*ingestv1.Result{result}}); err != nil {
				return err
			}
		}
	}
}

// came is how many streams and events there were.
func (s *scriptedIngest) came() (streams, events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams, s.received
}

// answers sets how it answers from now on.
func (s *scriptedIngest) answers(answer func(n int, e *eventv1.Event) (*ingestv1.Result, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func refusal(err error) *ingestv1.Result {
	return &ingestv1.Result{Result: &ingestv1.Result_Error{Error: fault.Status(err).Proto()}}
}

var away = fault.New(fault.Unavailable, "NOT_ACCEPTED", "not now")

func streams(f *fixture) int  { n, _ := f.came(); return n }
func received(f *fixture) int { _, n := f.came(); return n }

// fixture is a file of ten subscribers, and an ingest.
type fixture struct {
	*scriptedIngest
	t      *testing.T
	imp    Import
	faults []string
	waits  []time.Duration
}

const tenRows = 10

func newFixture(t *testing.T) *fixture {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, scriptedIngest: &scriptedIngest{kept: map[string]int{}}}
	server := grpc.NewServer()
	ingestv1.RegisterIngestServiceServer(server, f)
	go server.Serve(listener) //nolint:errcheck // it ends with Stop
	t.Cleanup(server.Stop)
	conn, err := rpc.Dial(listener.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	file := filepath.Join(t.TempDir(), "ten.csv")
	f.imp = Import{
		File: file, Form: form(), Conn: conn, Journal: file + ".progress", Patience: time.Hour,
		Faulty: func(x Fault) {
			for _, v := range x.Violations {
				f.faults = append(f.faults, fmt.Sprintf("%d: %s", x.Line, v))
			}
		},
		wait: func(ctx context.Context, d time.Duration) bool {
			f.waits = append(f.waits, d)
			return ctx.Err() == nil
		},
	}
	var text bytes.Buffer
	if _, err := (Sample{Rows: tenRows, Class: "gold", ActivatedAt: begin}).WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	f.write(text.String())
	return f
}

func (f *fixture) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.imp.File, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) run() (Summary, error) {
	f.t.Helper()
	s, err := f.imp.Run(f.t.Context())
	s.Seconds = 0
	return s, err
}

// whole checks that each subscriber was taken, under one id.
func (f *fixture) whole() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.kept) != tenRows {
		f.t.Errorf("%d ids were kept, of %d rows", len(f.kept), tenRows)
	}
}

func TestRun_ImportsEveryRow(t *testing.T) {
	f := newFixture(t)
	got, err := f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows}, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	f.whole()
	// What is complete is not sent again.
	got, err = f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows, Earlier: tenRows}, got); err != nil || diff != "" || received(f) != tenRows {
		t.Fatal(err, diff, received(f))
	}
	// Unless it is asked for, and then under the same ids.
	f.imp.FromStart = true
	got, err = f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows}, got); err != nil || diff != "" || received(f) != 2*tenRows {
		t.Fatal(err, diff, received(f))
	}
	f.whole()
}

func TestRun_SendsNothingWhereARowIsFaulty(t *testing.T) {
	f := newFixture(t)
	f.write("msisdn,class_of_service\n49151,gold\n49152,\n49151,silver\nx,gold\n49151,\n")
	got, err := f.run()
	if diff := cmp.Diff(Summary{Rows: 5, Faulty: 4}, got); err != nil || diff != "" || streams(f) != 0 {
		t.Fatal(err, diff, streams(f))
	}
	want := []string{
		"3: class_of_service: is required",
		`5: msisdn: must be 5 to 15 digits, country code first, without + or 00`,
		"6: class_of_service: is required",
		"4: msisdn: 49151 is in line 2 too",
		"6: msisdn: 49151 is in line 2 too",
	}
	if diff := cmp.Diff(want, f.faults); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(f.imp.Journal); !errors.Is(err, os.ErrNotExist) {
		t.Error("a journal was written of an import that sent nothing")
	}
}

func TestRun_DryRunSendsNothing(t *testing.T) {
	f := newFixture(t)
	f.imp.DryRun = true
	got, err := f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows}, got); err != nil || diff != "" || streams(f) != 0 {
		t.Fatal(err, diff, streams(f))
	}
}

func TestRun_SendsUnavailableRowsAgain(t *testing.T) {
	for name, answer := range map[string]func(n int, e *eventv1.Event) (*ingestv1.Result, error){
		"one event is not acknowledged":           func(n int, _ *eventv1.Event) (*ingestv1.Result, error) { return when(n == 4, refusal(away)), nil },
		"the stream breaks before an answer":      func(n int, _ *eventv1.Event) (*ingestv1.Result, error) { return nil, failed(n == 4, away) },
		"it breaks three times in a row":          func(n int, _ *eventv1.Event) (*ingestv1.Result, error) { return nil, failed(n >= 4 && n < 7, away) },
		"it breaks at the first and the last row": func(n int, _ *eventv1.Event) (*ingestv1.Result, error) { return nil, failed(n == 1 || n == 11, away) },
		"the caller asks too often": func(n int, _ *eventv1.Event) (*ingestv1.Result, error) {
			return when(n == 2, refusal(fault.New(fault.Throttled, "SLOW", "slower"))), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.answers(answer)
			got, err := f.run()
			if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows}, got); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
			f.whole()
			if len(f.waits) == 0 || f.waits[0] != leastPause {
				t.Errorf("it waited %v", f.waits)
			}
		})
	}
}

func when(yes bool, r *ingestv1.Result) *ingestv1.Result {
	if yes {
		return r
	}
	return nil
}

func failed(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

func TestRun_EndsAfterPatienceWithoutIngest(t *testing.T) {
	f := newFixture(t)
	f.imp.Patience = 0
	f.answers(func(n int, _ *eventv1.Event) (*ingestv1.Result, error) { return nil, failed(n > 4, away) })
	got, err := f.run()
	if fault.KindOf(err) != fault.Unavailable || got.Accepted > 4 {
		t.Fatal(err, got)
	}
	// The next run goes on from what was answered, and the whole is there.
	accepted := got.Accepted
	f.answers(nil)
	got, err = f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows, Earlier: accepted}, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	f.whole()
}

func TestRun_RejectedRowDelaysNoOther(t *testing.T) {
	f := newFixture(t)
	f.answers(func(n int, _ *eventv1.Event) (*ingestv1.Result, error) {
		return when(n == 3, refusal(fault.NewInvalid("EVENT_INVALID", fault.Violation{Field: "subject", Description: "must be nicer"}))), nil
	})
	got, err := f.run()
	if diff := cmp.Diff(Summary{Rows: tenRows, Accepted: tenRows - 1, Refused: 1}, got); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
	if diff := cmp.Diff([]string{"4: subject: must be nicer"}, f.faults); diff != "" {
		t.Error(diff)
	}
}

func TestRun_UnknownKeyEndsAtOnce(t *testing.T) {
	f := newFixture(t)
	f.answers(func(int, *eventv1.Event) (*ingestv1.Result, error) {
		return nil, fault.New(fault.Unauthenticated, "API_KEY_UNKNOWN", "the API key is not known")
	})
	if _, err := f.run(); fault.KindOf(err) != fault.Unauthenticated || len(f.waits) > 0 {
		t.Fatal(err, f.waits)
	}
}

func TestJournal_BelongsToOneContentAndForm(t *testing.T) {
	f := newFixture(t)
	if _, err := f.run(); err != nil {
		t.Fatal(err)
	}
	f.imp.Tenant = "other"
	content, err := os.ReadFile(f.imp.File)
	if err != nil {
		t.Fatal(err)
	}
	f.write(strings.Replace(string(content), "gold", "silver", 1))
	_, err = f.run()
	if !IsDifferentFile(err) || len(fault.ViolationsOf(err)) != 2 || received(f) != tenRows {
		t.Fatal(err)
	}
	f.imp.FromStart = true
	if got, err := f.run(); err != nil || got.Accepted != tenRows {
		t.Fatal(got, err)
	}
}

func TestRun_ChangedFileIsAnError(t *testing.T) {
	f := newFixture(t)
	// As if it were another one between validation and sending.
	f.write("msisdn,class_of_service\n49151,gold\nx,gold\n")
	file, err := os.Open(f.imp.File)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f.imp.Progress = func(Stage, int64, int64) {}
	s := &sending{Import: f.imp, file: file, rows: tenRows, journal: &journal{}}
	if err := s.run(t.Context()); !errors.Is(err, errChanged) {
		t.Fatal(err)
	}
}

func TestRun_InterruptedImportKeepsProgress(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan struct{})
	f.imp.Progress = func(stage Stage, done, _ int64) {
		if stage == Sending && done == 4 {
			cancel()
			close(answered)
		}
	}
	f.answers(func(n int, _ *eventv1.Event) (*ingestv1.Result, error) {
		if n > 4 {
			<-answered
		}
		return nil, nil
	})
	if _, err := f.imp.Run(ctx); err == nil {
		t.Fatal("it went well")
	}
	f.imp.Progress = nil
	f.answers(nil)
	got, err := f.run()
	if err != nil || got.Earlier < 4 || got.Accepted != tenRows {
		t.Fatal(got, err)
	}
	f.whole()
}
