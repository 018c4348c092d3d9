package safeguard

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
func TestConfig_DeployedFileHoldsTheDefaults(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	if err := daemon.Load(filepath.Join("..", "..", "deploy", "config", "safeguard.yaml"), nil, &cfg); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), cfg, cmpopts.IgnoreFields(stream.Config{}, "Dial"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestConfig_NamesEveryViolation(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	err := daemon.Load("", []string{
		"TOLLGATE_KAFKA_BROKERS=nowhere", "TOLLGATE_REDIS_PREFIX=a b", "TOLLGATE_GRPC_LISTEN=x", "TOLLGATE_CONFIG_ADDR=y",
		"TOLLGATE_PEERS_CA_FILE=z", "TOLLGATE_STATE_BATCH_RECORDS=0", "TOLLGATE_PEERS=q",
	}, &cfg)
	for _, want := range []string{
		"nowhere", "redis.prefix", "grpc.listen", "config.address", "peers.ca_file", "state.batch_records", "TOLLGATE_PEERS",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}
