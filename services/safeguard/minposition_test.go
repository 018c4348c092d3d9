package safeguard

import (
	"testing"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/api"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// A producer reads right behind the receipt for its activation, at any replica, and is answered from a state in which that
// was worked: once the answer was that there is no such subscriber.
func TestMinPosition_ReadsBehindAReceipt(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Gold())
		topic := f.client.Topic(stream.EventsOrdered)
		for i := range crowd {
			number := subject(i)
			partition := stream.PartitionOf([]byte("acme/"+number), 4)
			_, end, err := f.client.Offsets(f.ctx, topic, partition)
			if err != nil {
				f.Fatal(err)
			}
			for _, r := range []*replica{first, second} {
				read := func(after *optionsv1.Position) error {
					_, err := answeredBy(f, func() (*optionsv1.ListOptionsResponse, error) {
						return r.inventory.ListOptions(f.ctx, &optionsv1.ListOptionsRequest{Parent: named(number), MinPosition: after})
					})
					return err
				}
				if err := read(&optionsv1.Position{Partition: partition, Offset: end - 1}); err != nil {
					f.Errorf("%s behind its activation: %v", number, err)
				}
				for _, wrong := range []*optionsv1.Position{{Partition: (partition + 1) % 4}, {Partition: partition, Offset: end + 1000}} {
					if err := read(wrong); fault.ReasonOf(fault.FromGRPC(err)) != api.ReasonPosition {
						f.Errorf("%s behind %v: %v", number, wrong, err)
					}
				}
			}
		}
	})
}
