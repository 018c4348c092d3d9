package safeguard

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frametest"
)

func TestConfig_ShippedFileIsTheDefaults(t *testing.T) {
	frametest.ShippedFile(t, "safeguard", DefaultConfig())
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
