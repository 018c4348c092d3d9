package provision

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// The example that handlers are usually begun from, in a real Flask, unmodified: allow, and nothing changed.
func TestClients_FlaskEchoAllowsUnchanged(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") == "" {
		t.Skip("make test-clients runs it")
	}
	port := flask(t)
	onServers(t, func(f *fixture) {
		f.ports = append(f.ports, port)
		for i, method := range []configv1.HttpMethod{configv1.HttpMethod_HTTP_METHOD_UNSPECIFIED, configv1.HttpMethod_HTTP_METHOD_POST} {
			f.hooks = append(f.hooks, &configv1.Hook{
				Name: "tenants/acme/hooks/flask-" + strconv.Itoa(i), EventTypes: []string{"client.created"},
				FailurePolicy: configv1.FailurePolicy_FAILURE_POLICY_FORBID,
				Handler:       &configv1.Hook_Http{Http: &configv1.HttpHandler{Url: "http://127.0.0.1:" + strconv.Itoa(int(port)) + "/hook", Method: method}},
			})
		}
		f.save()
		res := f.decided(f.start(), nord("k"))
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || res.GetDecidedBy() != provisionv1.DecidedBy_DECIDED_BY_ALL_HANDLERS {
			t.Fatalf("got %v", res)
		}
		if got, want := strings.Join(outcomesOf(res), ", "), "flask-0 OUTCOME_ALLOWED, flask-1 OUTCOME_ALLOWED"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

// example is the block of the page on hooks.
func example(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../deploy/docs/hooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```python flask\n")
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !ended {
		t.Fatal("the page has no block of Flask")
	}
	return block + "\n"
}

// flask installs Flask, and serves the example until the test ends.
func flask(t *testing.T) uint32 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	dir := t.TempDir()
	interpreter := filepath.Join(dir, "venv", "bin", "python")
	for _, step := range [][]string{
		{"python3", "-m", "venv", filepath.Join(dir, "venv")},
		{interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", filepath.Join("testdata", "clients", "requirements.txt")},
	} {
		if out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", step, err, out)
		}
	}
	serve, err := os.ReadFile(filepath.Join("testdata", "clients", "serve.py"))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "handler.py")
	if err := os.WriteFile(program, []byte(example(t)+string(serve)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, interpreter, program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(strings.TrimSpace(line), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(port)
}
