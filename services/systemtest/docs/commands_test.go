package docs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// order is that in which a reader works through the pages whose commands run; they go on in one terminal.
var order = []string{
	"README.md", "deploy/docs/tutorial.md", "deploy/docs/produce.md", "deploy/docs/notifications.md", "deploy/docs/options.md", "deploy/docs/profiles.md",
}

func TestCommands_RunAgainstOneInstallation(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, ".run", "try")
	i := start(t, data)
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.mark == "try" {
				sameAsPrinted(t, b.text, i.out.String())
			}
		}
	}
	program(t, filepath.Join(dir, ".bin"), "tollgate", "grpcurl")
	// The README goes on in a terminal where what try prints was typed.
	key, err := os.ReadFile(filepath.Join(data, "api-key"))
	if err != nil {
		t.Fatal(err)
	}

	script := "set -euo pipefail\n" + i.at(session(t))
	cmd := exec.CommandContext(t.Context(), "bash", "-s")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(script)
	cmd.Env = append(os.Environ(), modeVariable+"="+modeRun, "TOLLGATE_API_KEY="+string(key), "TOLLGATE_KAFKA_BROKERS="+i.addresses["127.0.0.1:19192"],
		"TOLLGATE_CONFIG_ADDR="+i.addresses["127.0.0.1:7010"], "TOLLGATE_INGEST_ADDR="+i.addresses["127.0.0.1:7020"],
		"TOLLGATE_SAFEGUARD_ADDR="+i.addresses["127.0.0.1:7030"], "TOLLGATE_TRIGGER_ADDR="+i.addresses["127.0.0.1:7040"])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("a command failed, the last one: %v\n%s", err, out)
	}
	if testing.Verbose() {
		t.Logf("%s", out)
	}
	// Of the README's notification, for the tutorial's subscriber, and of the sample's.
	for _, want := range []string{
		"to you@example.com: Welcome, 999123456", "from Sample operator <care@operator.example> to jane@operator.example: 999123456 has used €6.50 of €10.00",
	} {
		if !i.out.await(t.Context(), want) {
			t.Errorf("no e-mail %q:\n%s\n%s", want, out, i.out)
		}
	}
	for _, notification := range []string{"half-gone", "nearly-gone", "data-safeguard"} {
		if want := "of 999123456 by notification " + notification + ": received, signature verified"; !i.out.await(t.Context(), want) {
			t.Errorf("no verified webhook by notification %s:\n%s\n%s", notification, out, i.out)
		}
	}
}

// session is every block that runs, in the order of the pages.
func session(t *testing.T) string {
	t.Helper()
	byPath := map[string]page{}
	for _, p := range pages(t) {
		byPath[p.path] = p
	}
	var script strings.Builder
	for _, path := range order {
		for _, b := range byPath[path].blocks {
			if b.mark == "run" {
				fmt.Fprintf(&script, "echo '@@ %s:%d' >&2\n%s\n", path, b.line, b.text)
			}
		}
		delete(byPath, path)
	}
	for path, p := range byPath {
		for _, b := range p.blocks {
			if b.mark == "run" {
				t.Errorf("%s:%d: a block runs on a page that the test does not know: add the page to order", path, b.line)
			}
		}
	}
	return script.String()
}

// at is a script with the addresses of the installation in place of the usual ones.
func (i *installation) at(script string) string {
	var pairs []string
	for usual, address := range i.addresses {
		pairs = append(pairs, usual, address)
	}
	return strings.NewReplacer(pairs...).Replace(script)
}

func TestCommands_ThatAreCheckedParse(t *testing.T) {
	bin, err := filepath.Abs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	programs := []string{"tollgate", "make", "go"}
	for name := range configurations {
		programs = append(programs, "tollgate-"+name)
	}
	program(t, bin, programs...)
	for _, name := range []string{"bash", "cat", "date", "env", "mkdir"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range pages(t) {
		t.Run(p.path, func(t *testing.T) {
			t.Parallel()
			checkBlocks(t.Context(), t, bin, p)
		})
	}
}

// foreign are programs of others that documents name.
var foreign = []string{"python", "kafka-acls.sh", "sqlite3", "git", "kafka-console-consumer.sh"}

// checkBlocks runs the page's blocks with programs that parse their arguments and do nothing. Each writes what is wrong
// into a file of faults.
func checkBlocks(ctx context.Context, t *testing.T, bin string, p page) {
	t.Helper()
	var script strings.Builder
	for _, b := range p.blocks {
		if b.mark == "check" {
			fmt.Fprintf(&script, "at=%s:%d\nexport at\n%s\nwait\n", p.path, b.line, b.text)
		}
	}
	if script.Len() == 0 {
		return
	}
	dir := t.TempDir()
	repository, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deploy", "Makefile"} {
		if err := os.Symlink(filepath.Join(repository, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// What commands of other blocks make, which do nothing here.
	if err := os.Mkdir(filepath.Join(dir, "tollgate-data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tollgate-data", "keyset.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	faults := filepath.Join(dir, "faults")
	unknown := fmt.Sprintf("command_not_found_handle() { case \" %s \" in *\" $1 \"*) ;; *) echo \"$at: $1 is no program of ours\" >> %s;; esac; }\n",
		strings.Join(foreign, " "), faults)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "bash"), "-s")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(unknown+script.String())
	cmd.Env = []string{"PATH=" + bin, "HOME=" + dir, modeVariable + "=" + modeCheck, faultsVariable + "=" + faults}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil && !strings.Contains(err.Error(), "exit status") {
		t.Fatalf("%s: %v\n%s", p.path, err, &stderr)
	}
	if strings.Contains(stderr.String(), "syntax error") {
		t.Errorf("%s: %s", p.path, &stderr)
	}
	if text, err := os.ReadFile(faults); err == nil {
		t.Errorf("%s", text)
	}
}
