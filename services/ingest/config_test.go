package ingest

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
)

// The file in deploy is what an operator starts from: everything in it is what the program has by itself.
func TestConfig_DeployedFileHasTheDefaults(t *testing.T) {
	cfg := DefaultConfig()
	if err := daemon.Load(filepath.Join("..", "..", "deploy", "config", "ingest.yaml"), nil, &cfg); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), cfg, cmpopts.IgnoreFields(stream.Config{}, "Dial"),
		cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestConfig_ListsEveryViolation(t *testing.T) {
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
