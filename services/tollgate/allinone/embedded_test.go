package allinone

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The Java admin client describes topics by a request that the embedded Kafka answers with a null list, unless it is not
// offered.
func TestEmbeddedKafka_OffersNothingThatTheJavaAdminClientFailsOn(t *testing.T) {
	s, err := startServers(t.Context(), t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	res, err := kmsg.NewPtrApiVersionsRequest().RequestWith(t.Context(), c)
	if err != nil || len(res.ApiKeys) < 20 {
		t.Fatalf("%d requests are offered, %v", len(res.ApiKeys), err)
	}
	for _, k := range res.ApiKeys {
		if k.ApiKey == kmsg.DescribeTopicPartitions.Int16() {
			t.Error("DescribeTopicPartitions is offered")
		}
	}
}
