package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

// grace is how long Kafka may stay away before a service calls itself not
// ready: a moved leader is no news.
const grace = 5 * time.Second

// WatchKafka shows under the check "kafka" what stops a partition: an incident that stands, or something that is waited
// for. What concerns one record, behind which its partition went on, is noted and keeps nobody from being ready.
func (h *Health) WatchKafka(client *stream.Client) {
	h.Note("kafka", func() []*Incident {
		var reported []*Incident
		for _, in := range client.Health().Reported {
			reported = append(reported, &Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		return reported
	})
	h.Check("kafka", func() error {
		standing := client.Health()
		var faults []error
		for _, in := range standing.Incidents {
			faults = append(faults, &Incident{Code: in.Code, Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Detail: in.Detail})
		}
		for _, w := range standing.Waiting {
			if time.Since(w.Since) >= grace {
				faults = append(faults, fmt.Errorf("%s of %s/%d waits since %s: %s", w.For, w.Topic, w.Partition, w.Since.UTC().Format(time.RFC3339), w.Reason))
			}
		}
		return errors.Join(faults...)
	})
}
