package allinone

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// frameOnly is a service that has nothing but the frame.
type frameOnly struct {
	daemon.Config
}

func (frameOnly) Validate() error { return nil }

// ingest once went on accepting for hours what no safeguard counted any more.
func TestInstallation_EndsWithTheFirstServiceThatEndsByItself(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("tg_0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := Open(t.Context(), Config{
		Dir: t.TempDir(), KeyFile: key, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if i.Err() != nil {
		t.Errorf("failed: %v", i.Err())
	}
	if err := i.serve(t.Context(), "safeguard", process.Configuration{
		Configuration: frameOnly{daemon.DefaultConfig("127.0.0.1:0")},
		Run:           func(context.Context, daemon.Env) error { return errors.New("stuck") },
	}); err != nil {
		t.Fatal(err)
	}
	<-i.Failed()
	i.run.Wait() // config and ingest too, though their context has not ended
	if err := i.Err(); err == nil || err.Error() != "safeguard: stuck" {
		t.Errorf("the first that ended is reported as %v", err)
	}
	if err := i.Work(t.Context()); err == nil {
		t.Error("more services were started beside those that have ended")
	}
	if err := i.Close(); err == nil || !strings.Contains(err.Error(), "safeguard: stuck") {
		t.Errorf("closed with %v", err)
	}
}
