package trigger

import (
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/topic"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/stream"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// publish emits the record of an action that publishes to a topic of its tenant; where the topic is not the tenant's by this
// revision, what stands in its place. That is made once the topic is away: of the event, the delivery and the subject's place
// as they are now.
func (f *evaluation) publish(s *fold.Subject[body], of firing, d *delivery.Delivery, to channel.Published, why decision) {
	r := stream.Record{Topic: to.Topic(), Partition: stream.AnyPartition, Key: d.Key, Value: d.Body, Time: s.Time}
	for _, h := range d.Headers {
		r.Headers = append(r.Headers, stream.Header{Key: h.Name, Value: []byte(h.Value)})
	}
	r.Headers = append(r.Headers, stream.Header{Key: topic.HeaderID, Value: []byte(d.ID)})
	if d.Trace != "" {
		r.Headers = append(r.Headers, stream.Header{Key: topic.HeaderTrace, Value: []byte(d.Trace)})
	}
	why.reason = triggerv1.Decision_REASON_TOPIC_UNAVAILABLE
	why.why = fmt.Errorf("topic %s takes no record, or not this one: it is in %s as %s", to.Topic(), stream.DeliveriesDead, d.ID)
	if f.permitted(d.Tenant, to.Topic()) {
		by := causeOf(s)
		s.EmitForeign(fold.Foreign{Record: r, Instead: func() []stream.Record {
			decided := f.decided(by, of, why)
			decided.Time = by.time
			return []stream.Record{f.dead(d), decided}
		}})
		f.metrics.planned()
		return
	}
	s.Emit(f.dead(d))
	f.decide(s, of, why)
}

// permitted reports whether a tenant may publish to a topic: never to one of this installation's own.
func (f *evaluation) permitted(tenant, name string) bool {
	t := f.book.tenants[tenant]
	return t != nil && channel.TopicUnder(name, t.topicPrefixes) && !channel.OwnTopic(name, f.prefix)
}

// dead is the dead letter of a record that was not published.
func (f *evaluation) dead(d *delivery.Delivery) stream.Record {
	last := delivery.AttemptMessage(d, 0, nil, delivery.Decision{Settlement: delivery.Dead, Reason: reasonTopic}, nil)
	r, err := delivery.DeadRecord(f.topic(stream.DeliveriesDead), sourceTrigger, d, last, d.PlannedAt)
	if err != nil {
		panic(err.Error()) // all its texts are UTF-8
	}
	return r
}

// reasonTopic is why such a record is dead.
const reasonTopic = "topic_unavailable"
