//go:build linux

package script_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tollgate/tollgate/services/provision/script"
)

func TestMain(m *testing.M) {
	script.Stage()
	os.Exit(m.Run())
}

func config() script.Config {
	c := script.DefaultConfig()
	c.Enabled = true
	if os.Geteuid() == 0 {
		c.User = "nobody"
	}
	return c
}

// write makes a script of /bin/sh.
func write(t testing.TB, text string) script.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	body := []byte("#!/bin/sh\n" + text)
	if err := os.WriteFile(path, body, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	return script.Program{Path: path, SHA256: hex.EncodeToString(sum[:])}
}

func run(t testing.TB, c script.Config, p script.Program, input string) (script.Output, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return script.Run(ctx, c, p, []byte(input))
}

func TestRun_InputArgumentsAndOutput(t *testing.T) {
	p := write(t, `read line; echo "$line $1 $2"; echo more >&2`)
	p.Args = []string{"a b", "$HOME;"}
	out, err := run(t, config(), p, "{\"event\":1}\n")
	if err != nil || string(out.Stdout) != "{\"event\":1} a b $HOME;\n" || string(out.Stderr) != "more\n" || out.Status != 0 {
		t.Fatalf("got %d %q %q, %v", out.Status, out.Stdout, out.Stderr, err)
	}
}

// Go's runtime, which becomes the script, takes more than the least that an operator may allow.
func TestRun_TheLeastMemoryIsThatOfTheScriptAlone(t *testing.T) {
	c := config()
	c.MemoryBytes = 16 << 20
	p := write(t, "echo done")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if out, err := run(t, c, p, ""); err != nil || string(out.Stdout) != "done\n" {
					t.Errorf("got %q, %v: %s", out.Stdout, err, out.Stderr)
				}
			}
		})
	}
	all.Wait()
}

func TestRun_CleanAndUnprivileged(t *testing.T) {
	t.Setenv("TOLLGATE_SECRET", "s3cret")
	out, err := run(t, config(), write(t, `env | sort; id -u; pwd; ls /proc/self/fd | tr '\n' ' '; grep NoNewPrivs /proc/self/status`), "")
	if err != nil {
		t.Fatalf("%v: %s", err, out.Stderr)
	}
	text := string(out.Stdout)
	if strings.Contains(text, "s3cret") || !strings.Contains(text, "\n/\n") || !strings.Contains(text, "NoNewPrivs:\t1") {
		t.Errorf("got %s", text)
	}
	if os.Geteuid() == 0 && strings.Contains(text, "\n0\n") {
		t.Errorf("it runs as root: %s", text)
	}
}

func TestRun_EachFaultOfAScriptEndsInOne(t *testing.T) {
	missing := script.Program{Path: filepath.Join(t.TempDir(), "none"), SHA256: strings.Repeat("0", 64)}
	replaced := write(t, "echo old")
	if err := os.WriteFile(replaced.Path, []byte("#!/bin/sh\necho new"), 0o700); err != nil {
		t.Fatal(err)
	}
	interpreter := write(t, "")
	body := []byte("#!/no/such/interpreter\n")
	if err := os.WriteFile(interpreter.Path, body, 0o700); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	interpreter.SHA256 = hex.EncodeToString(sum[:])
	for _, row := range []struct {
		name   string
		p      script.Program
		change func(*script.Config)
		fault  string
	}{
		{name: "it is missing", p: missing, fault: "no such file"},
		{name: "it was replaced", p: replaced, fault: "it was replaced"},
		{name: "its interpreter is missing", p: interpreter, fault: "exit status 126"},
		{name: "its status is not 0", p: write(t, "echo '{\"decision\":\"allow\"}'; echo why >&2; exit 3"), fault: `exit status 3: "why"`},
		{name: "a signal ends what it runs", p: write(t, "sh -c 'kill -9 $$'"), fault: "exit status 137"},
		{name: "it writes too much", p: write(t, "while :; do echo 0123456789012345678901234567890123456789; done"), fault: "more than 1048576 bytes"},
		{name: "it eats memory", p: write(t, "x=0123456789; while :; do x=$x$x; done"), change: func(c *script.Config) { c.MemoryBytes = 64 << 20 }, fault: "ended with"},
		{name: "it fills the disk", p: write(t, "f=$(mktemp) && trap 'rm -f $f' EXIT && dd if=/dev/zero of=$f bs=1M count=64"), fault: "ended with"},
		{name: "scripts are off", p: write(t, ""), change: func(c *script.Config) { c.Enabled = false }, fault: "scripts are off"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := config()
			if row.change != nil {
				row.change(&c)
			}
			_, err := run(t, c, row.p, "")
			if err == nil || !strings.Contains(err.Error(), row.fault) {
				t.Errorf("got %v, want %q", err, row.fault)
			}
		})
	}
}

// fifo is a pipe that has a name: a process that holds it open is seen by its reader until it ends.
type fifo struct{ path string }

func newFIFO(t testing.TB) fifo {
	t.Helper()
	dir, err := os.MkdirTemp("", "script")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "fifo")
	if err := errors.Join(syscall.Mkfifo(path, 0o600), os.Chmod(path, 0o666), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return fifo{path}
}

// open returns once a process has opened it.
func (f fifo) open(t testing.TB) *os.File {
	t.Helper()
	r, err := os.Open(f.path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// opened is open for a process that may never come to it, which ends the test.
func (f fifo) opened(t testing.TB) *os.File {
	t.Helper()
	opened := make(chan *os.File, 1)
	go func() { opened <- f.open(t) }()
	select {
	case r := <-opened:
		return r
	case <-time.After(time.Minute):
		f.letGo(t)
		t.Fatal("no process opened the pipe")
		return nil
	}
}

// letGo ends the wait of open.
func (f fifo) letGo(t testing.TB) {
	t.Helper()
	w, err := os.OpenFile(f.path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err == nil {
		err = w.Close()
	}
	if err != nil && !errors.Is(err, syscall.ENXIO) {
		t.Error(err)
	}
}

// held reads until the last process that holds it has ended.
func held(t testing.TB, r *os.File) {
	t.Helper()
	if _, err := io.ReadAll(r); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestRun_KilledWholeAtItsDeadline(t *testing.T) {
	child, escaped := newFIFO(t), newFIFO(t)
	text := "trap '' TERM INT\nsleep 1000 > " + child.path + " &\n"
	if os.Geteuid() == 0 {
		// One that leaves its process group ends with the space of processes.
		text += "setsid sh -c \"trap '' TERM; sleep 1000 > " + escaped.path + "\" &\n"
	}
	p := write(t, text+"while :; do wait; done")
	ctx, cancel := context.WithCancelCause(t.Context())
	late := errors.New("the deadline")
	type result struct {
		out script.Output
		err error
	}
	done := make(chan result, 1)
	go func() {
		out, err := script.Run(ctx, config(), p, nil)
		done <- result{out, err}
	}()
	readers := []*os.File{child.opened(t)}
	if os.Geteuid() == 0 {
		readers = append(readers, escaped.opened(t))
	}
	cancel(late)
	if got := <-done; !errors.Is(got.err, context.Canceled) || got.out.Status != -1 {
		t.Errorf("got %d, %v", got.out.Status, got.err)
	}
	for _, r := range readers {
		held(t, r)
	}
}

func TestRun_EndsWithItsFirstProcess(t *testing.T) {
	child := newFIFO(t)
	p := write(t, "sleep 1000 > "+child.path+" &\necho '{}'")
	opened := make(chan *os.File, 1)
	go func() { opened <- child.open(t) }()
	out, err := run(t, config(), p, "")
	if err != nil || string(out.Stdout) != "{}\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
	select {
	case r := <-opened:
		held(t, r)
	default:
		child.letGo(t) // the child was killed before it opened it
	}
}

func TestRun_InputThatIsNotReadHoldsNothingUp(t *testing.T) {
	out, err := run(t, config(), write(t, "exec 0<&-; echo '{}'"), strings.Repeat("x", 1<<20))
	if err != nil || string(out.Stdout) != "{}\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
}

func TestRun_ForkBombIsBounded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the number of processes is bounded only for a user of its own")
	}
	c := config()
	c.Processes = 20
	_, err := run(t, c, write(t, "f() { f | f & f; }; f"), "")
	if err == nil {
		t.Error("it ended well")
	}
}

func TestRun_WrapperStandsInFront(t *testing.T) {
	c := config()
	c.Wrapper = []string{"/usr/bin/env", "JAIL=on"}
	out, err := run(t, c, write(t, "echo $JAIL"), "")
	if err != nil || string(out.Stdout) != "on\n" {
		t.Errorf("got %q, %v", out.Stdout, err)
	}
}

func TestValidate_EveryFault(t *testing.T) {
	c := script.Config{Enabled: true, User: "root", Wrapper: []string{"bwrap"}, FileBytes: -1}
	err := c.Validate()
	for _, part := range []string{"user: root is root", "wrapper:", "memory_bytes:", "output_bytes:", "file_bytes:", "files:", "processes:"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
	if os.Geteuid() == 0 {
		c = script.DefaultConfig()
		c.Enabled = true
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "user: is required") {
			t.Errorf("got %v", err)
		}
	}
}
