package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/provision"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
)

// runProvision serves hooks where the installation's config looks for it, and a handler at the address that it returns: /day changes
// the bill day, /list forbids, anything else is a fault.
func runProvision(t *testing.T, installation *allinone.Installation, config, serviceKeyFile string) (port string, stop func()) {
	t.Helper()
	cfg := provision.DefaultConfig()
	cfg.Kafka.Brokers = []string{installation.Kafka}
	cfg.Redis.Address, cfg.Redis.SkipDurabilityCheck = installation.Redis, true
	cfg.GRPC.Listen, cfg.GRPC.KeyHashes = installation.Provision, []string{rpc.HashKey(testKey)}
	cfg.Configuration.Address, cfg.Configuration.APIKeyFile = config, serviceKeyFile
	cfg.Secrets.KeysetFile = filepath.Join(filepath.Dir(serviceKeyFile), "keyset.json")
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- provision.Run(ctx, cfg, daemon.NewEnv("provision", zap.NewNop())) }()
	handler := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/day":
			_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"client": map[string]any{"billDay": 7}}})
		case "/list":
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"reason":"blacklisted"}`)
		default:
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	return handler.URL[strings.LastIndexByte(handler.URL, ':')+1:], func() {
		handler.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// awaitHook returns once the service that asks hooks knows one, for scripts: awaithook NAME.
func awaitHook() {
	conn, err := rpc.Dial(os.Getenv("TOLLGATE_CONFIG_ADDR"), os.Getenv("TOLLGATE_API_KEY"))
	for known := false; err == nil && !known; {
		_, err = configv1.NewHookServiceClient(conn).TestRun(context.Background(), &provisionv1.TestRunRequest{Name: os.Args[1], Type: "no.type"})
		switch fault.ReasonOf(err) {
		case "CONFIG_NOT_READ", "HOOK_NOT_FOUND", "PROVISION_UNAVAILABLE":
			err = nil
		case "REQUEST_INVALID":
			known, err = true, nil
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
