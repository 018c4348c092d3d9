package ingest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/event"
)

func TestConfig_ShippedFileIsTheDefaults(t *testing.T) {
	frametest.ShippedFile(t, "ingest", DefaultConfig())
}

func TestConfig_ListsEveryViolation(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	err := daemon.Load("", []string{
		"TOLLGATE_KAFKA_BROKERS=nowhere", "TOLLGATE_KAFKA_PREFIX=a b", "TOLLGATE_GRPC_LISTEN=x",
		"TOLLGATE_HTTP_LISTEN=y",
		"TOLLGATE_HTTP_MAX_BODY_BYTES=1", "TOLLGATE_HTTP_REQUEST_TIMEOUT=0s", "TOLLGATE_HTTP_CERTIFICATE_FILE=z",
		"TOLLGATE_HTTP_LISTENS=q",
	}, &cfg)
	for _, want := range []string{
		"nowhere", "a b", "grpc.listen", "http.listen", "http.max_body_bytes", "http.request_timeout",
		"http.certificate_file", "TOLLGATE_HTTP_LISTENS",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

// The figures that the documents have.
func TestBounds_AreThoseOfTheDocuments(t *testing.T) {
	t.Parallel()
	events := fmt.Sprintf("%d,%03d", maxBatch/1000, maxBatch%1000)
	for page, want := range map[string]string{
		"produce.md": fmt.Sprintf("| size | an event has at most %d MiB; a batch at most %s events and %d MiB |",
			event.MaxBytes>>20, events, DefaultConfig().HTTP.MaxBodyBytes>>20),
		"reference/events.md": fmt.Sprintf("An event has at most %d MiB in Protobuf.", event.MaxBytes>>20),
		"reference/grpc.md":   fmt.Sprintf("Further events, behind event where that is set; at most %s in all.", events),
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "docs", filepath.FromSlash(page)))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s does not have %q (%v)", page, want, err)
		}
	}
}
