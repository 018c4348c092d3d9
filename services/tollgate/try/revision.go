package try

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
)

// look is how often something that is about to happen is looked for.
const look = 10 * time.Millisecond

// awaitRevision waits until every log that is counted or planned from has the configuration: it holds for events after it,
// and an event before it would be worked by the revision before.
func (r *run) awaitRevision(ctx context.Context) (err error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var head *configv1.WatchResponse
	watch, err := configv1.NewConfigWatchServiceClient(r.configConn).Watch(watching, &configv1.WatchRequest{})
	if err == nil {
		head, err = watch.Recv()
	}
	if err != nil {
		return fmt.Errorf("read the configuration's revision: %w", err)
	}
	revision := head.GetApplyRevision()
	r.story.waitFor(fmt.Sprintf("revision %d of the configuration to be in force in every partition", revision))
	if r.folder.kept.Announced == revision {
		return nil
	}
	client, err := r.openKafka()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, topic := range []string{stream.EventsOrdered, stream.Safeguards} {
		if err := awaitIn(ctx, client, client.Topic(topic), revision); err != nil {
			return err
		}
	}
	r.story.step("in force", "revision %d of the configuration, in every partition", revision)
	r.folder.kept.Announced = revision
	return r.folder.keep()
}

func (r *run) openKafka() (*stream.Client, error) {
	if r.installation == nil {
		return r.cfg.Running.Kafka()
	}
	return stream.Open(stream.Config{Brokers: []string{r.installation.Kafka}, Prefix: "tollgate"}, zap.NewNop(), prometheus.NewRegistry())
}

func awaitIn(ctx context.Context, client *stream.Client, topic string, revision int64) error {
	partitions, err := client.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	for p := range partitions {
		from, _, err := client.Offsets(ctx, topic, int32(p))
		if err != nil {
			return err
		}
		for there := false; !there; {
			batch, err := client.FetchFrom(ctx, topic, int32(p), from, 1<<20)
			if err != nil {
				return err
			}
			for _, record := range batch.Records {
				there = there || revisionIn(record) >= revision
			}
			if from = batch.Next; len(batch.Records) == 0 && !pause.For(ctx, look) {
				return ctx.Err()
			}
		}
	}
	return nil
}

func revisionIn(record stream.Record) int64 {
	if kind, _ := record.Header(event.HeaderType); string(kind) != event.TypeRevision {
		return 0
	}
	e, err := event.Decode(record.Value)
	if err != nil {
		return 0
	}
	data, ok := e.Data.(*controlv1.Revision)
	if !ok {
		return 0
	}
	return data.GetRevision()
}
