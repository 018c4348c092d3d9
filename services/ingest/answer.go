package ingest

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// maxBatch is how many events one request may bring.
const maxBatch = 1000

// answer is that of a synchronous API for one event: its receipt, or a fault.
type answer struct {
	receipt *ingestv1.Receipt
	err     error
}

// reachedBy makes TENANT_DENIED the error of each event of a tenant that the caller does not reach, whatever else is wrong with
// it: what another tenant declares is not shown.
func (in inputs) reachedBy(caller *access.Caller) inputs {
	return inputs{in.n, func(i int, p event.Parser) (*event.Event, error) {
		e, err := in.parse(i, p)
		if e != nil && e.Tenant != "" && !caller.Reaches(e.Tenant) {
			err = access.ErrTenant(caller, "tenant")
		}
		return e, err
	}}
}

// take parses what came, publishes what has no fault and answers for each, in order. Nothing of it is on the rejected
// topic: the caller has the error.
func (p *publisher) take(ctx context.Context, in inputs, log rejections,
	metrics *transportMetrics) []answer {
	parsed := p.tenants.parse(ctx, in.reachedBy(rpc.CallerOf(ctx)))
	now := p.now()
	received := timestamppb.New(now)
	answers := make([]answer, len(parsed))
	entries := make([]entry, 0, len(parsed))
	indexes := make([]int, 0, len(parsed))
	for i := range parsed {
		e, err := parsed[i].Event, parsed[i].Err
		var made entry
		if err == nil {
			stop := p.stopOf(e, metrics.name)
			made, err = p.stamp(e, now)
			made.stop = stop
		}
		if err != nil {
			if answers[i].err = err; fault.KindOf(err) == fault.Unavailable {
				metrics.unavailable.Inc()
				continue
			}
			log.write(e, err, stream.Record{})
			metrics.reject(err)
			continue
		}
		entries = append(entries, made)
		indexes = append(indexes, i)
	}
	if len(entries) == 0 {
		return answers
	}
	receipts := make([]ingestv1.Receipt, len(entries))
	accepted := 0
	for n, at := range p.produce(ctx, entries, impatient) {
		if at.Err != nil {
			answers[indexes[n]].err = unanswered(at.Err)
			metrics.unavailable.Inc()
			continue
		}
		accepted++
		e, r := entries[n].event, &receipts[n]
		r.Id, r.Topic, r.Partition, r.Offset, r.ReceivedAt = e.ID, entries[n].record.Topic, at.Partition, at.Offset, received
		if !e.ReceivedAt.Equal(now) {
			r.ReceivedAt = timestamppb.New(e.ReceivedAt) // stamped anew
		}
		answers[indexes[n]].receipt = r
	}
	metrics.accepted.Add(float64(accepted))
	return answers
}

// within bounds how long a synchronous API waits for Kafka, where the caller did not.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
