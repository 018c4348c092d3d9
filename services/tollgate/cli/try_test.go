package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/try"
)

// printed collects what a run prints, and closes done once all of want was printed.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
	want string
	done chan struct{}
}

func (o *printed) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before := strings.Contains(o.text.String(), o.want)
	o.text.Write(p)
	if !before && strings.Contains(o.text.String(), o.want) {
		close(o.done)
	}
	return len(p), nil
}

var indented = regexp.MustCompile(`(?m)^  ((?:export |\S*tollgate check).*)$`)

func TestTry_PrintedCommandsWorkAsTyped(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out := &printed{want: "--single-node\n", done: make(chan struct{})}
	ended := make(chan error, 1)
	go func() {
		// Free ports: commands need all of them.
		ended <- try.Run(ctx, try.Config{Data: t.TempDir() + "/a folder", AnyPort: true, Pause: time.Hour, Started: time.Now(), Out: out, Err: io.Discard})
	}()
	select {
	case <-out.done:
	case err := <-ended:
		t.Fatalf("it ended with %v\n%s", err, out.text.String())
	}
	var lines []string
	for _, m := range indented.FindAllStringSubmatch(out.text.String(), -1) {
		lines = append(lines, m[1])
	}
	for _, name := range []string{"CONFIG", "INGEST", "SAFEGUARD"} {
		if !strings.Contains(strings.Join(lines, "\n"), "export TOLLGATE_"+name+"_ADDR=127.0.0.1:") {
			t.Errorf("it does not print where %s is, which is not at its usual port:\n%s", name, out.text.String())
		}
	}
	shell := exec.CommandContext(ctx, "sh", "-ec", strings.Join(lines, "\n"))
	shell.Env = []string{"PATH=" + os.Getenv("PATH")}
	output, err := shell.CombinedOutput()
	if err != nil || !bytes.Contains(output, []byte("ok")) {
		t.Errorf("typed as it is printed: %v\n%s\n%s", err, strings.Join(lines, "\n"), output)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
