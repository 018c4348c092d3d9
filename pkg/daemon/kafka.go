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

// WatchKafka tells under the check "kafka" what needs a person, and what waits.
func (h *Health) WatchKafka(client *stream.Client) {
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
