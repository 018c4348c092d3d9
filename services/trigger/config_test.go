package trigger

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
)

func TestConfig_ShippedFileIsTheDefaults(t *testing.T) {
	var got Config
	if err := daemon.Load("../../deploy/config/trigger.yaml", nil, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(DefaultConfig(), got, cmpopts.IgnoreFields(stream.Config{}, "TLS", "Dial"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestConfig_ListsEveryViolation(t *testing.T) {
	c := DefaultConfig()
	c.Kafka.Brokers = nil
	c.Redis.Address = ""
	c.GRPC.Listen = "x"
	c.Configuration.Address = "y"
	c.State.BatchRecords = 0
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"kafka: brokers", "redis.address", "grpc.listen", "config.address", "state.batch_records"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not name %s: %v", want, err)
		}
	}
}
