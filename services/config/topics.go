package config

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Topics of tenants: notifications may publish to those that begin with a prefix of their tenant, and exist when the
// notification is saved.

// permitted adds that a topic is not one of a tenant.
func permitted(f *fault.Violations, field, topic string, t *configv1.Tenant) {
	if !channel.TopicUnder(topic, t.GetTopicPrefixes()) {
		f.Add(field, "must begin with one of the topic_prefixes of %s, which the operator sets: %s", t.GetName(), listed(t.GetTopicPrefixes()))
	}
}

func listed(prefixes []string) string {
	if len(prefixes) == 0 {
		return "it has none"
	}
	return strings.Join(prefixes, ", ")
}

// publishes are the topics of a notification's actions by the field of each.
func publishes(n *configv1.Notification) map[string]string {
	topics := map[string]string{}
	for i, a := range n.GetActions() {
		if c, part := table.Channels.Of(a); part != nil {
			if own, ok := part.(channel.Published); ok {
				topics[at("actions", i)+"."+c.Name+"."+c.TargetField()] = own.Topic()
			}
		}
	}
	return topics
}

// stillPermitted adds the notifications that publish to topics which are not the tenant's any more.
func stillPermitted(q queries, f *fault.Violations, t *configv1.Tenant) {
	by := q.index.users(list{publishesTo, t.GetName()}, func(topic string) bool { return !channel.TopicUnder(topic, t.GetTopicPrefixes()) })
	if len(by) > 0 {
		f.Add("topic_prefixes", "must have the beginnings of the topics that are published to: change or deactivate first %s", named(by))
	}
}

// cluster is where topics are.
type cluster interface {
	// Partitions fails with stream.ErrUnknownTopic where there is no topic of that name.
	Partitions(ctx context.Context, topic string) (int, error)
	// Retention is the longest that one of our own topics keeps its records.
	Retention(ctx context.Context, topics ...string) (time.Duration, error)
}

// askTimeout is how long Kafka is asked which topics exist.
const askTimeout = 5 * time.Second

// validatePublished adds the topics of a notification that are this installation's own, or that do not exist. Those that the
// stored version publishes to are not asked for again: what is saved as it is needs no Kafka.
func (s *service) validatePublished(ctx context.Context, f *fault.Violations, d draft) error {
	n, ok := d.next.(*configv1.Notification)
	if !ok {
		return nil
	}
	topics := publishes(n)
	if len(topics) == 0 {
		return nil
	}
	known := map[string]bool{}
	if before, ok := d.stored.(*configv1.Notification); ok && d.action == actionUpdate {
		for _, topic := range publishes(before) {
			known[topic] = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t, err := tenant(ctx, s.read(), tenantOf(n.GetName()))
	if err != nil {
		return err
	}
	for _, field := range slices.Sorted(maps.Keys(topics)) {
		topic := topics[field]
		switch {
		case channel.OwnTopic(topic, s.prefix):
			f.Add(field, "must not be a topic of Tollgate, which begin with %q: what is published there would come back", s.prefix+".")
			continue
		case known[topic] || !channel.TopicUnder(topic, t.GetTopicPrefixes()):
			continue // nobody learns here which topics others have
		}
		_, err := s.cluster.Partitions(ctx, topic)
		switch {
		case errors.Is(err, stream.ErrUnknownTopic):
			f.Add(field, "%s does not exist: create it first", cut(topic))
		case errors.Is(err, stream.ErrNotAuthorized):
			f.Add(field, "%s may not be described by config: tollgate topics acl --topic-prefix prints what has to be allowed", cut(topic))
		case err != nil:
			return fault.New(fault.Unavailable, "TOPIC_UNVERIFIED", "whether %s exists is not known, Kafka did not answer: try again", cut(topic))
		}
		known[topic] = true
	}
	return nil
}

// validatePrefixes adds what is wrong with a tenant's prefixes.
func (s *service) validatePrefixes(f *fault.Violations, d draft) {
	if t, ok := d.next.(*configv1.Tenant); ok {
		channel.ValidateTopicPrefixes(t.GetTopicPrefixes(), s.prefix, "topic_prefixes", f)
	}
}
