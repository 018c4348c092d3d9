package streamtest

import (
	"os"
	"os/exec"
	"path/filepath"
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

func (k *Kafka) run(args ...string) string {
	k.t.Helper()
	return servers(k.t, args...)
}

// KafkaJars is a folder with the jars of Apache Kafka and its Java client, and makes sure that a Java with a compiler
// is there.
func KafkaJars(t testing.TB) string {
	t.Helper()
	return servers(t, "jars")
}

// servers calls the servers script, which lies beside the workspace that the test is in, and returns what it prints.
func servers(t testing.TB, args ...string) string {
	t.Helper()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			t.Fatal("the test does not run in the workspace: no go.work above it")
		}
		root = filepath.Dir(root)
	}
	cmd := exec.Command(filepath.Join(root, "deploy", "servers", "servers"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("servers %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
