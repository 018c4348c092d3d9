package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

// grace is how long Kafka may be unreachable before a service is not ready: a moved leader is normal.
const grace = 5 * time.Second

// WatchKafka reports under the check "kafka" what stops a partition: an open incident, or something the partition waits
// for. An incident of one record, behind which its partition went on, is noted and leaves the service ready.
func (h *Health) WatchKafka(client *stream.Client) {
	h.Note("kafka", func() []*Incident {
		var reported []*Incident
		for _, in := range client.Health().Reported {
			reported = append(reported, &Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		return reported
	})
	h.Check("kafka", func() error {
		current := client.Health()
		var faults []error
		for _, in := range current.Incidents {
			faults = append(faults, &Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		for _, w := range current.Waiting {
			if time.Since(w.Since) >= grace {
				faults = append(faults, fmt.Errorf("%s of %s/%d waits since %s: %s", w.For, w.Topic, w.Partition, w.Since.UTC().Format(time.RFC3339), w.Reason))
			}
		}
		return errors.Join(faults...)
	})
}
