package webhook

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/outbound"
)

func TestConfig_DeployFileHasTheDefaults(t *testing.T) {
	cfg := Config{}
	if err := daemon.Load("../../deploy/config/webhook.yaml", nil, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if got := DefaultConfig(); got.Deliveries != cfg.Deliveries || got.Outbound.Clients != cfg.Outbound.Clients || got.Admin != cfg.Admin || got.GRPC.Listen != cfg.GRPC.Listen {
		t.Errorf("the file has %+v, the defaults are %+v", cfg, got)
	}
}

func TestConfig_NamesEveryViolation(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Kafka.Brokers, cfg.Secrets.KeysetFile = nil, ""
	cfg.Redis.Address = ""
	cfg.Configuration.Address = "x"
	cfg.Deliveries = Deliveries{}
	cfg.Outbound = Outbound{Config: outbound.Config{Denied: []string{"nonsense", "10.0.0.0/8"}}}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"kafka", "redis.address", "config.address", "in_flight", "unrecorded_results_max", "waiting_max", "max_age", "denied", "clients", "secrets.keyset_file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}
