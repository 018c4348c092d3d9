package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/daemon/frame"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/delivery/internal/slots"
	"github.com/tollgate/tollgate/pkg/delivery/loop"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Service is one channel's, ready to run.
type Service struct {
	Channel *channel.Channel
	Limits  Limits
	// Backoff is the channel's; nil for delivery.Standard.
	Backoff delivery.Backoff
	// Directory is followed while deliveries are under way.
	Directory Followed
	Sender    delivery.Sender
	Report    Report
	// Reply is the name of the attribute that has the receiver's answer in a span; trace.Reply where it is empty.
	Reply   string
	Metrics *loop.Metrics
}

// Followed is a directory that follows the configuration until ctx ends.
type Followed interface {
	delivery.Directory
	Follow(ctx context.Context)
}

// Deliver works the channel's partitions and serves what is registered at the frame's server, until ctx ends; then it gives
// attempts in flight one second, and records their results.
func (s *Service) Deliver(ctx context.Context, f *frame.Frame) error {
	// Targets are followed until the last delivery has ended.
	following, unfollow := context.WithCancel(f.Following)
	var follower sync.WaitGroup
	follower.Go(func() { s.Directory.Follow(following) })
	defer func() { unfollow(); follower.Wait() }()

	worked := &loop.Channel{
		Name:  s.Channel.Name,
		Topic: f.Client.Topic(s.Channel.Topic), Attempts: f.Client.Topic(stream.DeliveriesAttempts),
		Dead: f.Client.Topic(stream.DeliveriesDead), Rejected: f.Client.Topic(stream.EventsRejected),
		Events:  f.Client.Topic(stream.EventsOrdered),
		Address: f.Server.Advertised(),
		Store:   f.Store, Directory: s.Directory, Sender: withTrace(s, f.Trace),
		Slots:    slots.New(s.Limits.InFlight, s.Limits.UnrecordedResultsMax),
		Reporter: reporter{s.Report, f.Log},
		Metrics:  s.Metrics, Health: f.Health, Log: f.Log, Clock: f.Clock, Backoff: s.Backoff,
		SnapshotEvery: time.Minute, MaxAge: s.Limits.MaxAge, WaitingMax: s.Limits.WaitingMax, EndpointWaitingMax: endpointWaitingMax,
		AcceptLostDeliveries: s.Limits.AcceptLostDeliveries,
	}
	return daemon.RunAll(ctx, f.Server.Serve, func(ctx context.Context) error {
		n, ok := daemon.Await(ctx, f.Env, "topics", func() (int32, error) {
			return CheckTopics(ctx, f.Client, s.Channel.Topic, s.Limits.MaxAge)
		})
		if !ok {
			return nil
		}
		worked.Partitions = n
		return f.Client.Consume(ctx, stream.GroupConfig{Name: f.Name, Topics: []string{s.Channel.Topic}},
			func(ctx context.Context, claim *stream.Claim) error {
				defer f.InFlight.Add(fmt.Sprintf("deliveries of partition %d", claim.Partition))()
				return worked.Work(ctx, f.Client, f.Producer, claim)
			})
	})
}

// CheckTopics checks that every topic that is written to exists, since nothing can be recorded otherwise, and that an
// attempt has a partition with the number of its delivery's; planned is the topic of the deliveries. Deliveries and attempts
// must be kept for a day longer than a delivery may wait, whatever bytes that takes: most of what waits stands in the log
// alone.
func CheckTopics(ctx context.Context, client *stream.Client, planned string, maxAge time.Duration) (partitions int32, err error) {
	var faults []error
	count := func(topic string) int {
		n, err := client.Partitions(ctx, client.Topic(topic))
		if err != nil {
			faults = append(faults, err)
		}
		return n
	}
	n, attempts := count(planned), count(stream.DeliveriesAttempts)
	count(stream.DeliveriesDead)
	count(stream.EventsRejected)
	count(stream.EventsOrdered)
	count(stream.StateSnapshots)
	if faults == nil && attempts != n {
		faults = append(faults, fmt.Errorf("%s has %d partitions and %s %d: they must have the same",
			client.Topic(planned), n, client.Topic(stream.DeliveriesAttempts), attempts))
	}
	if faults != nil {
		return 0, errors.Join(faults...)
	}
	kept := map[string]string{
		"retention.ms": strconv.FormatInt((maxAge + 24*time.Hour).Milliseconds(), 10), "retention.bytes": "-1",
	}
	return int32(n), client.VerifyTopics(ctx, []stream.TopicSpec{
		{Name: planned, Partitions: n, Config: kept},
		{Name: stream.DeliveriesAttempts, Partitions: n, Config: kept},
	}, true)
}
