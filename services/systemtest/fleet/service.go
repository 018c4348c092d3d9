package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// serve reads the configuration file of a service and serves until ctx ends, as its main does.
func serve(ctx context.Context, p process.Process, file string, log io.Writer) error {
	cfg, err := p.Load(file)
	if err != nil {
		return err
	}
	logger, err := daemon.NewLogger(p.Name, cfg.Frame().LogLevel, log)
	if err != nil {
		return err
	}
	return cfg.Serve(ctx, daemon.NewEnv(p.Name, logger))
}

// configuration is the service's file.
func (m *Member) configuration(kafka stream.Security) string {
	var b strings.Builder
	f, parts := m.fleet, m.service.Default().Parts
	fmt.Fprintf(&b, "admin: {listen: \"127.0.0.1:0\"}\nlog_level: info\n")
	listen := "127.0.0.1:0"
	if m.known != "" {
		listen = m.known
	}
	fmt.Fprintf(&b, "grpc: {listen: %q, api_key_hashes_file: %q, service_key_hashes_file: %q}\n", listen, f.hashes, f.hashes)
	if f.cfg.Collector != "" {
		fmt.Fprintf(&b, "tracing: {endpoint: %q, ratio: 1}\n", f.cfg.Collector)
	}
	if parts.Database != nil {
		fmt.Fprintf(&b, "database: {path: %q, url_file: %q}\n", f.Database(), f.databaseURL)
	}
	if parts.Secrets != nil {
		fmt.Fprintf(&b, "secrets: {keyset_file: %q}\n", f.keysetOf(m.service.Name))
	}
	if parts.Kafka != nil {
		fmt.Fprintf(&b, "kafka: {brokers: [%q], prefix: %q, sasl_mechanism: %q, sasl_username: %q, sasl_password_file: %q}\n",
			strings.Join(f.cfg.Brokers, `", "`), f.Prefix, kafka.Mechanism, kafka.Username, kafka.PasswordFile)
	}
	if parts.Redis != nil {
		fmt.Fprintf(&b, "redis: {address: %q, prefix: %q, skip_durability_check: %t}\n", f.cfg.Redis, f.Prefix, f.cfg.Embedded)
	}
	if parts.HTTP != nil {
		fmt.Fprintf(&b, "http: {listen: \"127.0.0.1:0\"}\n")
	}
	if parts.Configuration != nil {
		fmt.Fprintf(&b, "config: {address: %q, api_key_file: %q}\n", m.follows, f.keyFile)
	}
	return b.String()
}

// inside runs the member in this process.
func (m *Member) inside(ctx context.Context, file string) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.cancel, m.kill = cancel, cancel
	go func() {
		defer close(m.ended)
		m.err = serve(ctx, m.service, file, m.log)
	}()
	return nil
}

// process runs the member as a process of its own.
func (m *Member) process(_ context.Context, file string) error {
	cmd := exec.Command(filepath.Join(m.fleet.cfg.Binaries, "tollgate-"+m.service.Name), "-config", file)
	if memory := m.fleet.cfg.Memory; memory > 0 {
		// What a process may write to, not what it reserves: Go reserves much and uses little of it.
		cmd = exec.Command("sh", "-c", fmt.Sprintf(`ulimit -d %d && exec "$0" "$@"`, memory>>10), cmd.Path, "-config", file)
	}
	cmd.Stdout, cmd.Stderr = m.log, m.log
	// Not those of the caller's shell: they would change the configuration.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TZ=UTC"}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := record(cmd.Process.Pid); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	m.signal, m.pid = cmd.Process.Signal, cmd.Process.Pid
	m.cancel = func() { cmd.Process.Signal(syscall.SIGTERM) } //nolint:errcheck // one that has ended needs no signal
	m.kill = func() { cmd.Process.Kill() }                    //nolint:errcheck // one that has ended needs no signal
	go func() {
		defer close(m.ended)
		m.err = cmd.Wait()
	}()
	return nil
}

// Build makes the binaries of services into a folder.
func Build(ctx context.Context, dir string, names ...string) error {
	args := []string{"build", "-buildvcs=false", "-ldflags=-w", "-o", dir + string(filepath.Separator)}
	for _, name := range names {
		if _, known := process.Find(name); !known {
			return fmt.Errorf("build %s: there is no such service", name)
		}
		args = append(args, "./"+name+"/cmd/tollgate-"+name)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = filepath.Join(root(), "services")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(fmt.Errorf("build %s: %w", strings.Join(names, ", "), err), errors.New(string(out)))
	}
	return nil
}

// record puts a process on the list of a run that clears up after itself, however it ends: its id and when it started,
// as deploy/servers does. Where the system does not show the latter, nothing is listed.
func record(pid int) error {
	list := os.Getenv("TOLLGATE_TEST_STARTED")
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if list == "" || err != nil {
		return nil //nolint:nilerr // see above
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	file, err := os.OpenFile(list, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("list process: %w", err)
	}
	_, err = fmt.Fprintf(file, "%d %s\n", pid, fields[19])
	return errors.Join(err, file.Close())
}
