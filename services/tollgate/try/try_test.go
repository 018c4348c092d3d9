package try

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
)

// patience only ends tests that fail.
const patience = 5 * time.Minute

// output is what a run prints; once it has printed until, it calls then.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	until string
	then  func()
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.then != nil && strings.Contains(o.text.String(), o.until) {
		go o.then()
		o.then = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func TestOnce_EndsWithTheFirstVerifiedWebhook(t *testing.T) {
	out := &output{}
	err := Run(t.Context(), Config{Data: t.TempDir(), Once: true, AnyPort: true, Patience: patience, Started: time.Now(), Out: out, Err: io.Discard})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, step := range []string{
		"configured", "allowed by client-check, which changed client.bill_day from 3 to 28", "forbidden by client-check: on the list of debtors", "activated", "used ", "sent again", "spent 41.20 EUR of 50.00 EUR", "safeguard.alert of", "signature verified",
	} {
		if !strings.Contains(out.String(), step) {
			t.Errorf("%q is not printed:\n%s", step, out)
		}
	}
	if strings.Contains(out.String(), "safeguard.reached") {
		t.Errorf("it went on after the first webhook:\n%s", out)
	}
}

// journey runs until its first subscriber is through, and is interrupted then.
func journey(t *testing.T, dir string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := &output{until: "That was the whole journey", then: cancel}
	err := Run(ctx, Config{Data: dir, AnyPort: true, Pause: time.Hour, Started: time.Now(), Out: out, Err: io.Discard})
	if err != nil || context.Cause(ctx) == context.DeadlineExceeded {
		t.Fatalf("%v, %v\n%s", err, context.Cause(ctx), out)
	}
	return out.String()
}

func TestRestart_CountsAndNotifiesNothingTwice(t *testing.T) {
	dir := t.TempDir()
	first := journey(t, dir)
	key, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	second := journey(t, dir)
	if !strings.Contains(second, "0 of 7 changed") {
		t.Errorf("the restart changed the configuration:\n%s", second)
	}
	if again, err := os.ReadFile(filepath.Join(dir, keyFile)); err != nil || !bytes.Equal(again, key) {
		t.Errorf("the API key is another one (%v)", err)
	}

	seen := map[string]bool{}
	for _, got := range receipts(t, dir) {
		if seen[got.ID] || got.Repeat {
			t.Errorf("%s was notified twice", got.ID)
		}
		if !got.Verified {
			t.Errorf("%s was not verified: %s", got.ID, got.Fault)
		}
		seen[got.ID] = true
	}
	letters := lines[letter](t, dir, mailFile)
	for _, got := range letters {
		if seen[got.ID] || got.Repeat {
			t.Errorf("%s came twice", got.ID)
		}
		seen[got.ID] = true
	}
	for i, want := range []string{
		"999000010001 has used €41.20 of €50.00", "999000010001 has used €50.50 of €50.00",
		"999000020001 has used €41.20 of €50.00", "999000020001 has used €50.50 of €50.00",
	} {
		if i >= len(letters) {
			t.Fatalf("%d e-mails\n%s\n%s", len(letters), first, second)
		}
		got := letters[i]
		if got.Subject != want || got.From != "Sample operator <care@operator.example>" || got.To != "jane@operator.example" {
			t.Errorf("e-mail %d is %+v, want subject %q", i, got, want)
		}
		if line := "from " + got.From + " to " + got.To + ": " + got.Subject; !strings.Contains(first+second, line) {
			t.Errorf("%q is not printed:\n%s\n%s", line, first, second)
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d webhooks and e-mails, want one of each for the alert and the limit of each run\n%s\n%s", len(seen), first, second)
	}

	// Counters are rebuilt from the log, once more: the subscribers of both runs have the counters that they had.
	spent := counters(t, dir, "999000010001", "999000020001")
	for msisdn, cents := range spent {
		if cents != 5050 {
			t.Errorf("%s has spent %s after restarts, want 50.50 EUR", msisdn, euros(cents))
		}
	}
}

func receipts(t *testing.T, dir string) []received {
	t.Helper()
	return lines[received](t, dir, receiptFile)
}

// lines reads a log of a folder.
func lines[T any](t *testing.T, dir, file string) []T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	text := bufio.NewScanner(bytes.NewReader(content))
	for text.Scan() {
		var got T
		if err := json.Unmarshal(text.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		all = append(all, got)
	}
	return all
}

// counters starts the installation of a folder again, and asks.
func counters(t *testing.T, dir string, msisdns ...string) map[string]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	keyPath := filepath.Join(dir, keyFile)
	installation, err := allinone.Open(ctx, allinone.Config{
		Dir: dir, KeyFile: keyPath, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := installation.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := installation.Work(ctx); err != nil {
		t.Fatal(err)
	}
	address, err := installation.Service("safeguard").Address(ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	key, err := rpc.ReadKey(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	r := &run{}
	if r.optionsConn, err = rpc.Dial(address, key, grpc.WithDefaultCallOptions(grpc.WaitForReady(true))); err != nil {
		t.Fatal(err)
	}
	defer r.optionsConn.Close()
	spent := map[string]int64{}
	for _, msisdn := range msisdns {
		// From its owner's first answer on it must be right: unknown is an answer, a lower figure is not.
		shown, err := r.safeguard(ctx, msisdn, func(*optionsv1.DataSafeguard) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		spent[msisdn] = inCents(shown.GetSpent())
	}
	return spent
}

func TestOnce_ReportsWhyNothingCame(t *testing.T) {
	out := &output{}
	dir := t.TempDir()
	err := Run(t.Context(), Config{
		Data: dir, Once: true, AnyPort: true, Patience: 50 * time.Millisecond, Started: time.Now(), Out: out, Err: io.Discard,
	})
	if err == nil {
		t.Fatalf("it did not fail:\n%s", out)
	}
	want := regexp.MustCompile(`(?s)no webhook was received and verified within 50ms; waited for .+ logs are in ` + regexp.QuoteMeta(dir))
	if !want.MatchString(err.Error()) {
		t.Errorf("the reason is printed as %q", err)
	}
}

// opened is a folder that is closed at the end of the test.
func opened(t *testing.T, dir string) *folder {
	t.Helper()
	f, err := openFolder(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.close(false); err != nil {
			t.Error(err)
		}
	})
	return f
}

func TestFolder_IsOfOneRunAtATime(t *testing.T) {
	dir := t.TempDir()
	opened(t, dir)
	err := Run(t.Context(), Config{Data: dir, Out: io.Discard, Err: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "another tollgate try works in "+dir) {
		t.Errorf("the second run got %v", err)
	}
}

func TestFolder_IsReadableByItsUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := opened(t, dir)
	for _, name := range []string{keyFile, keptFile} {
		info, err := os.Stat(f.file(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
}

// ended is an installation whose first service has ended.
type ended struct{ failed chan struct{} }

func (e ended) Failed() <-chan struct{} { return e.failed }
func (e ended) Err() error              { return errors.New("safeguard: stuck") }

func TestRun_EndsWithTheFirstServiceThatEnds(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	e := ended{make(chan struct{})}
	done := endWith(e, end)
	close(e.failed)
	<-ctx.Done()
	done()
	if err := context.Cause(ctx); !strings.Contains(err.Error(), "a service ended, and everything with it: safeguard: stuck") {
		t.Errorf("it ended with %v", err)
	}
}
