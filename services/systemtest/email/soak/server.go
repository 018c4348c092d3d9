package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// server is the mail server's process, as this one sees it. What it took stands in a file, which outlives it.
type server struct {
	dir       string
	seed      uint64
	port      int
	starts    int
	disturbed bool

	cmd *exec.Cmd
	in  io.WriteCloser

	mu       sync.Mutex
	offset   int64
	receipts []soak.Receipt
	counts   map[string]int // of answers
}

// line is one of the server's file: an answer, and the message that it is to.
type line struct {
	Answer  string
	Receipt *soak.Receipt `json:",omitempty"`
}

// receiptFile is in the server's folder.
const receiptFile = "receipts.jsonl"

func startServer(ctx context.Context, dir string, seed uint64) (*server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &server{dir: dir, seed: seed, counts: map[string]int{}}
	return s, s.start(ctx)
}

// start starts it, where it was before, and returns once it listens.
func (s *server) start(context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.starts++
	mode := modeCalm
	if s.disturbed {
		mode = modeDisturbed
	}
	// It ends with its standard input, so also where this process is killed.
	s.cmd = exec.Command(self, "serve", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), s.dir, strconv.FormatUint(s.seed+uint64(s.starts), 10), mode)
	s.cmd.Stderr = os.Stderr
	in, inErr := s.cmd.StdinPipe()
	out, outErr := s.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, s.cmd.Start()); err != nil {
		return fmt.Errorf("start the mail server: %w", err)
	}
	s.in = in
	if _, err := fmt.Fscan(bufio.NewReader(out), &s.port); err != nil {
		return errors.Join(fmt.Errorf("start the mail server: %w", err), s.stop())
	}
	return nil
}

// kill ends it at once.
func (s *server) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the mail server: %w", err)
	}
	s.cmd.Wait() //nolint:errcheck // it was killed
	return nil
}

func (s *server) stop() error {
	if s.cmd.ProcessState != nil {
		return nil // killed, and not started again
	}
	if err := errors.Join(s.in.Close(), s.cmd.Wait()); err != nil {
		return fmt.Errorf("stop the mail server: %w", err)
	}
	return nil
}

// disturb lets it misbehave, or answer as a server should.
func (s *server) disturb(on bool) error {
	s.disturbed = on
	mode := modeCalm
	if on {
		mode = modeDisturbed
	}
	if _, err := fmt.Fprintln(s.in, mode); err != nil {
		return fmt.Errorf("disturb the mail server: %w", err)
	}
	return nil
}

// read takes over what the server wrote since; mu is held.
func (s *server) read() error {
	file, err := os.Open(filepath.Join(s.dir, receiptFile))
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it is only read
	content, err := io.ReadAll(io.NewSectionReader(file, s.offset, 1<<62))
	if err != nil {
		return err
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	for l := range bytes.Lines(content) {
		var one line
		if err := json.Unmarshal(l, &one); err != nil {
			return fmt.Errorf("line %q: %w", l, err)
		}
		s.counts[one.Answer]++
		if one.Receipt != nil {
			s.receipts = append(s.receipts, *one.Receipt)
		}
	}
	s.offset += int64(len(content))
	return nil
}

// since returns the receipts from the nth on.
func (s *server) since(n int) ([]soak.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.read()
	return s.receipts[n:len(s.receipts):len(s.receipts)], err
}

// String counts its answers.
func (s *server) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.read(); err != nil {
		return err.Error()
	}
	return soak.Counted(s.counts)
}
