package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/tollgate/tollgate/pkg/trace/tracetest"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// The same traces, by way of a collector of OpenTelemetry's own parts: it takes what services export, and what it passes on is
// whole. It runs with TOLLGATE_TEST_CLIENTS=1: make test-clients.
func TestClients_TraceThroughACollectorOfOpenTelemetry(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") != "1" {
		t.Skip("make test-clients runs it")
	}
	program := buildCollector(t)
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		behind := tracetest.New(t)
		traceJourney(t, ctx, f, startCollector(t, program, behind.Address), behind)
	})
}

// buildCollector builds the program, a module of its own. Its source is no .go file here: what takes every such file of the
// workspace would not find the packages that it imports.
func buildCollector(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	for from, to := range map[string]string{"main.go.txt": "main.go", "go.mod": "go.mod", "go.sum": "go.sum"} {
		content, err := os.ReadFile(filepath.Join("testdata", "collector", from))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "collector", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "collector")
}

// startCollector runs the program, which passes spans on to another, and returns where it takes them.
func startCollector(t *testing.T, program, behind string) (address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "collector.yaml")
	settings := fmt.Sprintf(`receivers: {otlp: {protocols: {grpc: {endpoint: "127.0.0.1:0"}}}}
exporters: {otlp_grpc: {endpoint: %q, tls: {insecure: true}, compression: none}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [otlp_grpc]}}}
`, behind)
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config", file)
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines := bufio.NewScanner(logs); lines.Scan() && address == ""; {
		var line struct{ Msg, Endpoint string }
		if last = lines.Text(); json.Unmarshal([]byte(last), &line) == nil && line.Msg == "Starting GRPC server" {
			address = line.Endpoint
		}
	}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, logs)
		read <- err
	}()
	t.Cleanup(func() {
		// It has passed on what it was given before it ends.
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		if err := <-read; err != nil {
			t.Errorf("read the collector's log: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the collector: %v", err)
		}
	})
	if address == "" {
		t.Fatalf("the collector listens nowhere: %s", last)
	}
	return address
}
