package streamtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Kafka is a real broker of one test's own.
type Kafka struct {
	t    testing.TB
	dir  string
	addr string
}

// StartKafka starts an Apache Kafka on a free port, with data of its own, that ends with the test.
func StartKafka(t testing.TB) *Kafka {
	t.Helper()
	k := &Kafka{t: t, dir: t.TempDir()}
	k.addr = k.run("kafka", "--port", "0", "--dir", k.dir)
	t.Cleanup(func() {
		if t.Failed() {
			if log, err := os.ReadFile(filepath.Join(k.dir, "log")); err == nil {
				t.Logf("end of the broker's log:\n%s", log[max(0, len(log)-4<<10):])
			}
		}
		k.run("stop", "--dir", k.dir)
	})
	return k
}

// Addrs to start from.
func (k *Kafka) Addrs() []string { return []string{k.addr} }

// Kill9 sends SIGKILL to the broker.
func (k *Kafka) Kill9() {
	k.t.Helper()
	b, err := os.ReadFile(filepath.Join(k.dir, "pid"))
	if err != nil {
		k.t.Fatalf("kill the broker: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		k.t.Fatalf("kill the broker: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		k.t.Fatalf("kill the broker: %v", err)
	}
}

// Restart brings a killed broker back at its address and returns when it answers.
func (k *Kafka) Restart() {
	k.t.Helper()
	_, port, _ := strings.Cut(k.addr, ":")
	k.run("kafka", "--port", port, "--dir", k.dir)
}

// run calls the servers script and returns what it prints.
func (k *Kafka) run(args ...string) string {
	k.t.Helper()
	_, here, _, _ := runtime.Caller(0)
	script := filepath.Join(filepath.Dir(here), "..", "..", "..", "deploy", "servers", "servers")
	cmd := exec.Command(script, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("servers %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
