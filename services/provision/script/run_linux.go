package script

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors that a stage inherits beside the standard streams.
const (
	programFD = 3
	selfFD    = 4
)

// ErrOff: scripts are not enabled.
var ErrOff = errors.New("scripts are off: an operator enables them in the service's file, scripts.enabled")

// Run runs a program on input until it ends, or ctx does. The error is of what could not be run, of one that ended otherwise
// than by itself with status 0, and of one that wrote too much.
func Run(ctx context.Context, cfg Config, p Program, input []byte) (Output, error) {
	if !cfg.Enabled {
		return Output{}, ErrOff
	}
	program, err := load(p)
	if err != nil {
		return Output{}, err
	}
	defer program.Close() //nolint:errcheck // it is memory
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return Output{}, fmt.Errorf("start the script: %w", err)
	}
	defer self.Close() //nolint:errcheck // it was read only

	cmd, err := cfg.command(p, program, self)
	if err != nil {
		return Output{}, err
	}
	r, err := start(cmd, input, cfg.OutputBytes)
	if err != nil {
		return Output{}, fmt.Errorf("start the script: %w", err)
	}
	return r.wait(ctx, p, cfg.OutputBytes)
}

// load copies a file into memory that nobody can write, and checks its hash there.
func load(p Program) (*os.File, error) {
	file, err := os.Open(p.Path)
	if err != nil {
		return nil, fmt.Errorf("open the script: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was read only
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxProgram {
		return nil, errors.Join(err, fmt.Errorf("%s must be a file of at most %d MiB", p.Path, maxProgram>>20))
	}
	fd, err := unix.MemfdCreate("script", unix.MFD_ALLOW_SEALING|unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy the script: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "script")
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(copied, sum), io.LimitReader(file, maxProgram+1)); err != nil {
		return nil, errors.Join(fmt.Errorf("copy the script: %w", err), copied.Close())
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL); err != nil {
		return nil, errors.Join(fmt.Errorf("seal the script: %w", err), copied.Close())
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != p.SHA256 {
		return nil, errors.Join(fmt.Errorf("%s has the SHA-256 %s, not the one that was registered, %s: it was replaced", p.Path, got, p.SHA256), copied.Close())
	}
	return copied, nil
}

// command starts this same program again, which becomes the script. Descriptors are named by their place in the child.
func (c Config) command(p Program, program, self *os.File) (*exec.Cmd, error) {
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	limits := []string{number(c.FileBytes), number(int64(c.Files)), "", "0", number(c.MemoryBytes)}
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		uid, gid, err := c.ids()
		if err != nil {
			return nil, fmt.Errorf("start the script as %q: %w", c.User, err)
		}
		attributes.Credential = &syscall.Credential{Uid: uid, Gid: gid, Groups: []uint32{}}
		// Its processes are a space of their own: they end with the first of them, also those that left its group.
		attributes.Cloneflags = syscall.CLONE_NEWPID
		limits[2] = number(int64(c.Processes))
	}
	args := []string{stageName, strings.Join(limits, ",")}
	args = append(args, c.Wrapper...)
	args = append(args, "/proc/self/fd/"+strconv.Itoa(programFD))
	return &exec.Cmd{
		Path: "/proc/self/fd/" + strconv.Itoa(selfFD), Args: append(args, p.Args...), Env: stageEnv, Dir: "/",
		ExtraFiles: []*os.File{program, self}, SysProcAttr: attributes,
	}, nil
}

// running is a script that runs.
type running struct {
	cmd            *exec.Cmd
	stdout, stderr *pipe
	ended          chan error
}

// start starts a script. Its input is written beside it, and given up with it.
func start(cmd *exec.Cmd, input []byte, outputBytes int) (_ *running, err error) {
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r := &running{cmd: cmd, ended: make(chan error, 1)}
	var out, errs *os.File
	if r.stdout, out, err = newPipe(outputBytes); err == nil {
		r.stderr, errs, err = newPipe(keptErrors)
	}
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errs
		err = cmd.Start()
	}
	for _, f := range []*os.File{in, out, errs} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), r.stdout.close(), r.stderr.close())
	}
	go r.stdout.read()
	go r.stderr.read()
	go func() {
		// A script need not read its input.
		_, _ = stdin.Write(input)
		_ = stdin.Close()
	}()
	go func() {
		state, err := cmd.Process.Wait()
		_ = stdin.SetWriteDeadline(time.Now())
		if err == nil && !state.Success() {
			err = &exec.ExitError{ProcessState: state}
		}
		r.ended <- err
	}()
	return r, nil
}

// wait returns once the script has ended, or ctx has and it was killed.
func (r *running) wait(ctx context.Context, p Program, outputBytes int) (Output, error) {
	var ended, stopped error
	select {
	case ended = <-r.ended:
	case <-r.stdout.full:
		stopped = fmt.Errorf("%s wrote more than %d bytes", p.Path, outputBytes)
	case <-ctx.Done():
		stopped = ctx.Err()
	}
	// Whatever it has started goes with it.
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	if stopped != nil {
		ended = <-r.ended // it was killed
	}
	out := Output{Stdout: r.stdout.end(), Stderr: r.stderr.end()}
	var exit *exec.ExitError
	switch {
	case stopped != nil:
		out.Status = -1
		return out, stopped
	case errors.As(ended, &exit):
		out.Status = exit.ExitCode()
		return out, fmt.Errorf("the script ended with %s: %s", exit.ProcessState, firstLine(out.Stderr))
	case ended != nil:
		return out, fmt.Errorf("wait for the script: %w", ended)
	case len(out.Stdout) > outputBytes:
		return out, fmt.Errorf("%s wrote more than %d bytes", p.Path, outputBytes)
	}
	return out, nil
}

func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return fmt.Sprintf("%.200q", line)
}

// pipe keeps the beginning of what a script writes.
type pipe struct {
	from *os.File
	most int
	kept []byte
	// full is closed when more was written than is kept; done once nothing is read any more.
	full, done chan struct{}
}

func newPipe(most int) (*pipe, *os.File, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &pipe{from: from, most: most, full: make(chan struct{}), done: make(chan struct{})}, to, nil
}

func (p *pipe) read() {
	defer close(p.done)
	p.kept, _ = io.ReadAll(io.LimitReader(rest{p.from}, int64(p.most)+1))
	if len(p.kept) > p.most {
		close(p.full)
		// What writes on is not held up: its time is bounded.
		_, _ = io.Copy(io.Discard, p.from)
	}
}

// rest reads a pipe; behind its deadline what lies in it, without a wait. What a script wrote was lost where this process came to
// read it too late, and no answer is one that allows.
type rest struct{ *os.File }

func (r rest) Read(b []byte) (n int, err error) {
	if n, err = r.File.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	conn, err := r.SyscallConn()
	if err != nil {
		return 0, err
	}
	control := conn.Control(func(fd uintptr) {
		for n, err = unix.Read(int(fd), b); errors.Is(err, unix.EINTR); n, err = unix.Read(int(fd), b) {
		}
	})
	if err = errors.Join(control, err); err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

// end is what was written by the end of the script; a process that holds the pipe open does not delay it.
func (p *pipe) end() []byte {
	_ = p.from.SetReadDeadline(time.Now().Add(drain))
	<-p.done
	_ = p.from.Close()
	return p.kept
}

func (p *pipe) close() error {
	if p == nil {
		return nil
	}
	return p.from.Close()
}
