package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery/schedule"
)

// Sender makes one attempt of a channel.
type Sender interface {
	// Send makes attempt number n (from 1) of d and waits for the response. It has its own deadline and returns soon
	// after ctx ends, with an Outcome that is Unfinished unless the response had arrived. Many goroutines call it; it
	// must not change d.
	Send(ctx context.Context, d *Delivery, to Target, n int) Outcome
}

// Target is the configured destination of one endpoint's deliveries.
type Target interface {
	// Concurrency is how many deliveries it takes at once.
	Concurrency() int
	// Rate is how many requests a second it takes at most, 0 for no bound.
	Rate() int
	// Schedule is when requests may be made, nil for always.
	Schedule() *schedule.Schedule
	// Paused: nothing is sent, and nothing is cancelled.
	Paused() bool
	// Activation counts how often the endpoint was made active; a new one ends a suspension.
	Activation() int64
	// Fingerprint changes with every setting that may turn a failure into a success (URL, authentication, CA);
	// deliveries that wait for their next attempt are then due at once.
	Fingerprint() uint64
}

// Targets are all active targets of one revision of the configuration. Deliveries to other endpoints are cancelled.
type Targets struct {
	Revision int64
	// ByName holds them by resource name; it is not changed once it is published. A target that is the same (by ==) as in the
	// revision before did not change.
	ByName map[string]Target
	// Disabled are endpoints that exist and are not active; they only change the reason of a settlement.
	Disabled map[string]bool
	// Serial counts what a Directory published. Changed, where it is set, names the targets that are others than in the one
	// with serial Since, or are not active any more. Revisions would not do: a configuration that was set back has some twice.
	Serial, Since int64
	Changed       []string

	once   sync.Once
	byHash map[uint64]string
}

// NameOf is the name of the active target with an EndpointHash, empty where there is none.
func (t *Targets) NameOf(hash uint64) string {
	t.once.Do(func() { // by the partitions that have references whose bodies were not read yet
		t.byHash = make(map[uint64]string, len(t.ByName))
		for name := range t.ByName {
			t.byHash[EndpointHash(name)] = name
		}
	})
	return t.byHash[hash]
}

// EndpointHash stands for an endpoint before its name is read: 64 bits, so that no two of a partition share one.
func EndpointHash(name string) uint64 { return xxhash.Sum64String(name) }

// Directory is the configuration as a channel follows it.
type Directory interface {
	// Newest returns the targets in force, nil while none are known, and a channel that is closed when the targets or
	// the result of Current change.
	Newest() (*Targets, <-chan struct{})
	// Current reports that revision is the newest: no later one is known, and the configuration service is reachable. A
	// delivery is cancelled only then.
	Current(revision int64) bool
}

// Reporter receives what changed of the health of endpoints.
type Reporter interface {
	// Report returns an error where the reports must be made again later. There are at most 1,000.
	Report(ctx context.Context, reports []EndpointHealth) error
}

// EndpointHealth is the state of an endpoint, as the owner of its partition knows it. Times are zero where there is none.
type EndpointHealth struct {
	Name       string
	Activation int64
	// Suspended is why it is suspended, empty where it is not.
	Suspended string
	// Since is when it was suspended, began to fail or last succeeded.
	Since                     time.Time
	Failures                  int64
	FailingSince, LastSuccess time.Time
	LastStatus                int
	LastError                 string
	CircuitOpen               bool
	NextProbe, HoldUntil      time.Time
	// Waiting are all that wait, Behind those of them that are read again later.
	Waiting, Behind int64
	At              time.Time
}
