package trigger

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/daemon/frametest"
)

func TestConfig_ShippedFileIsTheDefaults(t *testing.T) {
	frametest.ShippedFile(t, "trigger", DefaultConfig())
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
