package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tollgate/tollgate/pkg/port"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// Member is one service that runs.
type Member struct {
	// Name is that of the service, with a number behind it for the second and further replicas.
	Name string

	fleet *Fleet
	// known is the address at which a config service is known to the others; follows is that of the one that the member
	// follows.
	known, follows string
	service        process.Process
	log            *output
	// cancel asks for an end, kill ends at once; then ended is closed and err is how it ended.
	cancel, kill func()
	// signal reaches a process; nil where the member runs in this one.
	signal func(os.Signal) error
	pid    int
	ended  chan struct{}
	err    error
}

// Start runs a service and returns once it listens; Ready waits until it is of use. The config services are started
// first: the others get the address of one, by turns.
func (f *Fleet) Start(ctx context.Context, name string) (*Member, error) {
	s, known := process.Find(name)
	if !known {
		return nil, fmt.Errorf("start %s: there is no such service", name)
	}
	m := &Member{Name: name, fleet: f, service: s}
	count := 1
	for _, other := range f.members {
		if other.service.Name == name {
			count++
		}
	}
	if count > 1 {
		m.Name = fmt.Sprintf("%s-%d", name, count)
	}
	if n := len(f.configurations); n > 0 {
		m.follows = f.configurations[count%n]
	}
	if name == "config" {
		var err error
		if m.known, err = port.Free(ctx, "127.0.0.1"); err != nil {
			return nil, fmt.Errorf("start %s: %w", m.Name, err)
		}
	}
	if err := m.Restart(ctx); err != nil {
		return nil, err
	}
	f.members = append(f.members, m)
	if name == "config" {
		f.configurations = append(f.configurations, m.known)
	}
	return m, nil
}

// Restart runs a member again that has ended. It listens on other ports then, but for the config service: its clients are
// given its address once.
func (m *Member) Restart(ctx context.Context) error {
	path := filepath.Join(m.fleet.cfg.Dir, m.Name)
	security, err := m.fleet.security(m.service.Name)
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	if err := os.WriteFile(path+".yaml", []byte(m.configuration(security)), 0o600); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	log, err := newOutput(path + ".log")
	if err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	m.log, m.ended, m.err = log, make(chan struct{}), nil
	launch := m.inside
	if m.fleet.cfg.Binaries != "" {
		launch = m.process
	}
	if err := launch(ctx, path+".yaml"); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", m.Name, err), log.close())
	}
	for _, listener := range m.service.Default().Parts.Listeners() {
		select {
		case <-log.listening(listener):
		case <-m.ended:
			return fmt.Errorf("start %s: it ended: %w\n%s", m.Name, m.err, m.Tail())
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w\n%s", m.Name, ctx.Err(), m.Tail())
		}
	}
	return nil
}

// Address is where one of its listeners is: "admin", "grpc", "http".
func (m *Member) Address(listener string) string { return m.log.address(listener) }

// pollEvery is how often a state is read that cannot be waited for.
const pollEvery = 20 * time.Millisecond

// Ready waits until /readyz answers 200.
func (m *Member) Ready(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		last, err := m.readiness(ctx)
		if err == nil && last == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-m.ended:
			return fmt.Errorf("wait for %s: it ended: %w\n%s", m.Name, m.err, m.Tail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s %w\n%s", m.Name, ctx.Err(), last, err, m.Tail())
		}
	}
}

// readiness is what is wrong with the member by its own /readyz.
func (m *Member) readiness(ctx context.Context) (string, error) {
	body, status, err := m.get(ctx, "/readyz")
	if err != nil || status == http.StatusOK {
		return "", err
	}
	return string(body), nil
}

// Readiness is the text of its /readyz, and whether it is ready.
func (m *Member) Readiness(ctx context.Context) (text string, ready bool, err error) {
	body, status, err := m.get(ctx, "/readyz")
	return string(body), status == http.StatusOK, err
}

// Log is what the member has logged since its first start.
func (m *Member) Log() ([]byte, error) {
	return os.ReadFile(filepath.Join(m.fleet.cfg.Dir, m.Name+".log"))
}

// Metrics is the text of its /metrics.
func (m *Member) Metrics(ctx context.Context) (string, error) {
	body, _, err := m.get(ctx, "/metrics")
	return string(body), err
}

func (m *Member) get(ctx context.Context, path string) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address("admin")+path, nil)
	if err != nil {
		return nil, 0, err
	}
	res, err := operator.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return body, res.StatusCode, err
}

// operator keeps no connections: members come and go.
var operator = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// PeakMemory is the most that a process of its own has had in memory at once, in bytes.
func (m *Member) PeakMemory() (int64, error) { return m.memory("VmHWM:") }

// Memory is what a process of its own has in memory now, in bytes.
func (m *Member) Memory() (int64, error) { return m.memory("VmRSS:") }

func (m *Member) memory(line string) (int64, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.pid))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", m.Name, err)
	}
	_, text, _ := strings.Cut(string(content), line)
	var kib int64
	if _, err := fmt.Sscan(text, &kib); err != nil {
		return 0, fmt.Errorf("memory of %s: %w", m.Name, err)
	}
	return kib << 10, nil
}

// Heap is a profile of what the member has in memory after a collection, and of all that it has allocated.
func (m *Member) Heap(ctx context.Context) ([]byte, error) {
	body, status, err := m.get(ctx, "/debug/pprof/heap?gc=1")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("heap of %s: status %d", m.Name, status)
	}
	return body, err
}

// Profile is where the member spends processor time, over a while.
func (m *Member) Profile(ctx context.Context, d time.Duration) ([]byte, error) {
	body, status, err := m.get(ctx, fmt.Sprintf("/debug/pprof/profile?seconds=%d", int(d.Seconds())))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("profile of %s: status %d", m.Name, status)
	}
	return body, err
}

// Processor is how much processor time a process of its own has taken.
func (m *Member) Processor() (time.Duration, error) { return Processor(m.pid) }

// Processor is how much processor time a process has taken, to a hundredth of a second.
func Processor(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, fmt.Errorf("processor time of %d: %w", pid, err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// Kill ends the member at once, as a crash would, and returns once it is gone. In this process that is not possible.
func (m *Member) Kill() {
	m.kill()
	<-m.ended
	m.log.close() //nolint:errcheck // what was written is there or not; the member is gone
}

// Freeze pauses the member, like a machine that swaps or a process that is traced, until thaw lets it go on.
// In this process that is not possible.
func (m *Member) Freeze() (thaw func() error, err error) {
	if m.signal == nil {
		return nil, fmt.Errorf("freeze %s: it is no process of its own", m.Name)
	}
	if err := m.signal(syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("freeze %s: %w", m.Name, err)
	}
	return func() error {
		if err := m.signal(syscall.SIGCONT); err != nil {
			return fmt.Errorf("thaw %s: %w", m.Name, err)
		}
		return nil
	}, nil
}

// Stall freezes the member for a while, and lets it go on as if nothing had been: by then others have taken over what it
// had.
func (m *Member) Stall(ctx context.Context, d time.Duration) error {
	thaw, err := m.Freeze()
	if err != nil {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return thaw()
}

// Stop asks the member to finish and waits for it; one that has ended already ended well or not, too.
func (m *Member) Stop(ctx context.Context) error {
	m.cancel()
	select {
	case <-m.ended:
	case <-ctx.Done():
		m.kill()
		return fmt.Errorf("stop %s: %w\n%s", m.Name, ctx.Err(), m.Tail())
	}
	err := m.log.close()
	if m.err != nil {
		return fmt.Errorf("%s ended: %w\n%s", m.Name, m.err, m.Tail())
	}
	return err
}

// Ended is closed once the member has ended by itself or was ended.
func (m *Member) Ended() <-chan struct{} { return m.ended }

// Tail is the end of what the member logged.
func (m *Member) Tail() string {
	const enough = 4 << 10
	content, err := os.ReadFile(filepath.Join(m.fleet.cfg.Dir, m.Name+".log"))
	if err != nil {
		return err.Error()
	}
	return "end of the log of " + m.Name + ":\n" + string(content[max(0, len(content)-enough):])
}

// output keeps what a member logs in a file, and reads from it where the member listens.
type output struct {
	mu        sync.Mutex
	file      *os.File
	line      []byte
	bound     map[string]string
	listeners map[string]chan struct{}
}

func newOutput(path string) (*output, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &output{file: file, bound: map[string]string{}, listeners: map[string]chan struct{}{}}, nil
}

// Write takes lines of JSON, in pieces of any size. What a member that was ended writes after close is let go.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range b {
		if c != '\n' {
			o.line = append(o.line, c)
			continue
		}
		var line struct{ Message, Listener, Address string }
		// Most lines are something else, and there may be thousands a second.
		if bytes.Contains(o.line, []byte(`"listening"`)) && json.Unmarshal(o.line, &line) == nil && line.Message == "listening" {
			o.bound[line.Listener] = line.Address
			close(o.channel(line.Listener))
		}
		o.line = o.line[:0]
	}
	if n, err := o.file.Write(b); !errors.Is(err, os.ErrClosed) {
		return n, err
	}
	return len(b), nil
}

// channel holds mu.
func (o *output) channel(listener string) chan struct{} {
	c, ok := o.listeners[listener]
	if !ok {
		c = make(chan struct{})
		o.listeners[listener] = c
	}
	return c
}

func (o *output) listening(listener string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.channel(listener)
}

func (o *output) address(listener string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bound[listener]
}

func (o *output) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}
