package email

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon/frametest"
	"github.com/tollgate/tollgate/pkg/outbound"
)

func TestConfig_DeployFileHasTheDefaults(t *testing.T) {
	frametest.ShippedFile(t, "email", DefaultConfig())
}

func TestConfig_NamesEveryViolation(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Kafka.Brokers = nil
	cfg.Redis.Address = ""
	cfg.Configuration.Address = "x"
	cfg.Deliveries = Deliveries{}
	cfg.SMTP = SMTP{Hello: "a b", Connections: -1}
	cfg.Outbound = outbound.Config{Denied: []string{"nonsense"}, Proxy: "ftp://x", ProxyCredentialsFile: "y"}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"kafka", "redis.address", "config.address", "in_flight", "unrecorded_results_max", "waiting_max", "max_age", "smtp.hello", "smtp.connections", "denied", "proxy",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
