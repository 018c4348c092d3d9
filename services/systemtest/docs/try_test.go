package docs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/try"
)

// installation is one running try.
type installation struct {
	out *output
	// addresses are where it listens, by the address that documents name.
	addresses map[string]string
}

// start runs try in a folder until the test ends, and waits for the end of its first journey.
func start(t *testing.T, dir string) *installation {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	out := newOutput()
	ended := make(chan error, 1)
	go func() {
		ended <- try.Run(ctx, try.Config{Data: dir, AnyPort: true, Pause: time.Hour, Started: time.Now(), Out: out, Err: io.Discard})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("try: %v", err)
		}
	})
	if !out.await(t.Context(), "That was the whole journey") {
		t.Fatalf("try did not come to the end of its journey:\n%s", out)
	}
	i := &installation{out: out, addresses: map[string]string{}}
	for name, usual := range map[string]string{
		"kafka": "127.0.0.1:19192", "redis": "127.0.0.1:16479", "config": "127.0.0.1:7010", "ingest": "127.0.0.1:7020",
		"safeguard": "127.0.0.1:7030", "trigger": "127.0.0.1:7040", "webhook": "127.0.0.1:7050",
	} {
		m := regexp.MustCompile(fmt.Sprintf(`(?m)^\s+%s\s+(\S+:\d+)`, name)).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("try does not print the address of %s:\n%s", name, out)
		}
		i.addresses[usual] = m[1]
	}
	m := regexp.MustCompile(`http://(\S+:\d+)/v1/events`).FindStringSubmatch(out.String())
	if m == nil {
		t.Fatalf("try does not print the address of HTTP:\n%s", out)
	}
	i.addresses["127.0.0.1:7021"] = m[1]
	return i
}

// output is what try prints.
type output struct {
	mu   sync.Mutex
	more *sync.Cond
	text bytes.Buffer
}

func newOutput() *output {
	o := &output{}
	o.more = sync.NewCond(&o.mu)
	return o
}

// Write keeps what is printed.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.more.Broadcast()
	return o.text.Write(p)
}

// String is what was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until text was printed; false after patience or the end of ctx.
func (o *output) await(ctx context.Context, text string) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.more.Broadcast()
	})()
	o.mu.Lock()
	defer o.mu.Unlock()
	for !strings.Contains(o.text.String(), text) {
		if ctx.Err() != nil {
			return false
		}
		o.more.Wait()
	}
	return true
}

// patience bounds what takes a second on a machine with nothing else to do; it only ends tests that fail.
const patience = 5 * time.Minute

var digits = regexp.MustCompile(`[0-9]+`)

// sameAsPrinted compares the lines of a README's block with what try printed, without numbers. A line may end early with "…".
func sameAsPrinted(t *testing.T, shown, printed string) {
	t.Helper()
	plain := func(s string) string { return strings.Join(strings.Fields(digits.ReplaceAllString(s, "0")), " ") }
	printed = plain(printed)
	for line := range strings.Lines(shown) {
		if line = strings.TrimSuffix(plain(line), " …"); !strings.Contains(printed, line) {
			t.Errorf("README.md shows %q, which try does not print", line)
		}
	}
}
