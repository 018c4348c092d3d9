package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/receiver"
)

// signed is a request as its receiver has it, and whether it is to be taken.
type signed struct {
	name    string
	Secret  string            `json:"secret"`
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body"`
	valid   bool
}

// rotating are requests to an endpoint that has two secrets, and what must not verify.
func rotating(now time.Time) []signed {
	young, old, other := []byte("a secret of twenty-four b"), []byte("the one that it replaces"), []byte("somebody else's entirely")
	body := []byte(`{"text":"<Zoë> & Co"}`)
	request := func(at time.Time) map[string]string {
		d := &delivery.Delivery{
			ID: "dlv_06eaih8afco4kfkf2nc8j8cvio", Body: body, ContentType: "application/json; charset=utf-8",
			Headers: []delivery.Header{{Name: webhook.HeaderTransatel}},
		}
		out := map[string]string{}
		for name, values := range header(d, &endpoint{Receiver: receiver.Receiver{Endpoint: &webhook.Endpoint{Secrets: []webhook.Secret{young, old}}}}, at) {
			out[strings.ToLower(name)] = values[0]
		}
		return out
	}
	secret := webhook.NewSecret
	return []signed{
		{"the newer secret", secret(young), request(now), body, true},
		{"the older secret", secret(old), request(now), body, true},
		{"somebody else's secret", secret(other), request(now), body, false},
		{"another body", secret(young), request(now), []byte(`{"text":""}`), false},
		{"a request of an hour ago", secret(young), request(now.Add(-time.Hour)), body, false},
	}
}

// The standard's own verifiers, out of the registries of their languages, take what is sent; so does what the page for
// receivers shows. It runs with TOLLGATE_TEST_CLIENTS=1: make test-clients.
func TestClients_VerifySignaturesDuringARotation(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") != "1" {
		t.Skip("make test-clients runs it")
	}
	requests := rotating(time.Now())
	ofTransatel := []signed{
		{"the older secret", requests[1].Secret, requests[1].Headers, requests[1].Body, true},
		{"the newer secret", requests[0].Secret, requests[0].Headers, requests[0].Body, false},
		{"another body", requests[1].Secret, requests[1].Headers, requests[3].Body, false},
	}
	for _, tc := range []struct {
		name     string
		requests []signed
		prepare  func(t *testing.T, dir string) *exec.Cmd
		line     func(t *testing.T, r signed) string
	}{
		{"npm", requests, npm, asJSON},
		{"PyPI", requests, func(t *testing.T, dir string) *exec.Cmd { return python(t, dir, "standard") }, asJSON},
		{"Java", requests, java, asFields},
		{"transatel in Python", ofTransatel, func(t *testing.T, dir string) *exec.Cmd { return python(t, dir, "transatel") }, asJSON},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := tc.prepare(t, t.TempDir())
			var in, errs bytes.Buffer
			want := map[string]string{}
			for _, r := range tc.requests {
				in.WriteString(tc.line(t, r) + "\n")
				if want[r.name] = "refused"; r.valid {
					want[r.name] = "valid"
				}
			}
			cmd.Stdin, cmd.Stderr = &in, &errs
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %s", err, &errs)
			}
			got := map[string]string{}
			for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
				got[tc.requests[i].name] = line
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func asJSON(t *testing.T, r signed) string {
	t.Helper()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

func asFields(_ *testing.T, r signed) string {
	h := r.Headers
	return strings.Join([]string{r.Secret, h["webhook-id"], h["webhook-timestamp"], h["webhook-signature"], base64.StdEncoding.EncodeToString(r.Body)}, "\t")
}

// shown is a block of the page for receivers.
func shown(t *testing.T, fence string) string {
	t.Helper()
	page, err := os.ReadFile("../../deploy/docs/receive.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```"+fence+"\n")
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !ended {
		t.Fatalf("the page has no block of %s", fence)
	}
	return block + "\n"
}

// clientFile is a file of testdata/clients.
func clientFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", "clients", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command is a program in a folder; it ends with the test.
func command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	return cmd
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func npm(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	write(t, dir, "package.json", clientFile(t, "package.json"))
	write(t, dir, "package-lock.json", clientFile(t, "package-lock.json"))
	write(t, dir, "verify.js", shown(t, "js standard")+clientFile(t, "harness.js"))
	run(t, command(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"))
	return command(t, dir, "node", "verify.js")
}

func python(t *testing.T, dir, block string) *exec.Cmd {
	t.Helper()
	write(t, dir, "requirements.txt", clientFile(t, "requirements.txt"))
	write(t, dir, "verify.py", shown(t, "python "+block)+clientFile(t, "harness.py"))
	run(t, command(t, dir, "python3", "-m", "venv", "venv"))
	interpreter := filepath.Join(dir, "venv", "bin", "python")
	run(t, command(t, dir, interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", "requirements.txt"))
	return command(t, dir, interpreter, "verify.py")
}

func java(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	write(t, dir, "Signature.java", shown(t, "java standard"))
	write(t, dir, "Harness.java", clientFile(t, "Harness.java"))
	run(t, command(t, dir, "javac", "Signature.java", "Harness.java"))
	return command(t, dir, "java", "-cp", dir, "Harness")
}
