package scenario

import (
	"context"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

func TestAccess_AProducerWritesInboundAndNothingElse(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster := guarded(t, "guarded")
	f, err := fleet.Open(ctx, fleet.Config{
		Brokers: cluster.ListenAddrs(), Prefix: "guarded", Password: password, Dir: t.TempDir(), Partitions: 1, Embedded: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	})
	mechanism, err := scram.Mechanism(scram.SHA256, "producer", password("producer"))
	if err != nil {
		t.Fatal(err)
	}
	transport := &kafka.Transport{SASL: mechanism}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(cluster.ListenAddrs()...), Transport: transport}
	for _, spec := range table.Topics(1) {
		_, err := client.Produce(ctx, &kafka.ProduceRequest{
			Topic: f.Client.Topic(spec.Name), RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte("v"))}),
		})
		// A topic that it may not even describe is one that it does not find.
		if allowed := spec.Name == stream.EventsInbound; allowed != (err == nil) {
			t.Errorf("a producer that writes %s: %v", spec.Name, err)
		}
	}
}
