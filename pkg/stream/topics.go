package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// TopicSpec is a topic as it must be.
type TopicSpec struct {
	// Name without the client's prefix.
	Name       string
	Partitions int
	Config     map[string]string
	// Replication is how many brokers hold each partition; 1 on a single node.
	Replication int
}

const (
	configMinInsync    = "min.insync.replicas"
	configTimestampMax = "message.timestamp.after.max.ms"
)

// replicationConfigs only make sense with several brokers; a single node neither gets nor needs them.
var replicationConfigs = []string{configMinInsync, "unclean.leader.election.enable"}

func (s TopicSpec) relaxed(singleNode bool) TopicSpec {
	if !singleNode {
		return s
	}
	s.Replication = 1
	s.Config = maps.Clone(s.Config)
	for _, k := range replicationConfigs {
		delete(s.Config, k)
	}
	return s
}

// CreateTopics makes the topics that are missing and waits until every
// partition of all of them has a leader that answers. It changes nothing about
// topics that exist: VerifyTopics reports what is wrong with them. singleNode takes
// replication away, and configuration the broker does not know.
func (c *Client) CreateTopics(ctx context.Context, specs []TopicSpec, singleNode bool) error {
	var errs []error
	for _, s := range specs {
		if err := c.createTopic(ctx, s.relaxed(singleNode), singleNode); err != nil {
			errs = append(errs, fmt.Errorf("create topic %s: %w", c.Topic(s.Name), err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range specs {
		if err := c.waitForLeaders(ctx, s); err != nil {
			return fmt.Errorf("create topic %s: %w", c.Topic(s.Name), err)
		}
	}
	return nil
}

func (c *Client) createTopic(ctx context.Context, s TopicSpec, singleNode bool) error {
	err := c.cluster.Retry(ctx, cluster.WaitKey{For: "create", Topic: c.Topic(s.Name), Partition: AnyPartition},
		func(ctx context.Context) error {
			return c.createOnce(ctx, s)
		})
	if errors.Is(err, kafka.TopicAlreadyExists) {
		return nil
	}
	if _, has := s.Config[configTimestampMax]; has && singleNode && errors.Is(err, kafka.InvalidConfiguration) {
		s.Config = maps.Clone(s.Config)
		delete(s.Config, configTimestampMax) // unknown to the embedded broker
		return c.createTopic(ctx, s, singleNode)
	}
	return err
}

func (c *Client) createOnce(ctx context.Context, s TopicSpec) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	name := c.Topic(s.Name)
	t := kafka.TopicConfig{Topic: name, NumPartitions: s.Partitions, ReplicationFactor: s.Replication}
	for _, k := range slices.Sorted(maps.Keys(s.Config)) {
		t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: k, ConfigValue: s.Config[k]})
	}
	res, err := c.cluster.Kafka.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{t}})
	if err != nil {
		return err
	}
	return res.Errors[name]
}

// waitForLeaders waits until each partition's leader answers: a broker makes
// leaders a moment after it has answered that a topic is created.
func (c *Client) waitForLeaders(ctx context.Context, s TopicSpec) error {
	name := c.Topic(s.Name)
	for p := range s.Partitions {
		err := c.cluster.Retry(ctx, cluster.WaitKey{For: "leader", Topic: name, Partition: int32(p)},
			func(ctx context.Context) error {
				_, _, err := c.cluster.OffsetsOnce(ctx, name, int32(p))
				return err
			})
		if err != nil {
			return fmt.Errorf("wait for the leader of partition %d: %w", p, err)
		}
	}
	return nil
}

// VerifyTopics lists everything about the topics that is not as it must be.
// Retention and sizes may be larger than asked for; everything else is compared
// exactly. singleNode takes less replication, and skips configuration the broker
// does not report.
func (c *Client) VerifyTopics(ctx context.Context, specs []TopicSpec, singleNode bool) error {
	var violations []error
	var there []TopicSpec
	for _, s := range specs {
		n, replicas, err := c.layout(ctx, c.Topic(s.Name))
		switch {
		case errors.Is(err, ErrUnknownTopic):
			violations = append(violations, fmt.Errorf("%s: missing", c.Topic(s.Name)))
			continue
		case err != nil:
			return fmt.Errorf("verify topics: %w", err)
		}
		there = append(there, s)
		if n != s.Partitions {
			violations = append(violations, fmt.Errorf("%s: %d partitions, not %d", c.Topic(s.Name), n, s.Partitions))
		}
		if want := s.relaxed(singleNode).Replication; replicas < want {
			violations = append(violations, fmt.Errorf("%s: %d replicas, not %d", c.Topic(s.Name), replicas, want))
		}
	}
	configs, err := c.topicConfigs(ctx, there)
	if err != nil {
		return fmt.Errorf("verify topics: %w", err)
	}
	for _, s := range there {
		has := configs[c.Topic(s.Name)]
		want := s.relaxed(singleNode).Config
		for _, k := range slices.Sorted(maps.Keys(want)) {
			v, reported := has[k]
			switch {
			case !reported && singleNode:
			case !reported:
				violations = append(violations, fmt.Errorf("%s: %s is unknown to the broker, must be %s",
					c.Topic(s.Name), k, want[k]))
			case !satisfies(k, v, want[k]):
				violations = append(violations, fmt.Errorf("%s: %s is %s, must be %s", c.Topic(s.Name), k, v, want[k]))
			}
		}
	}
	return errors.Join(violations...)
}

// satisfies compares a topic's setting with the wanted one.
func satisfies(key, has, want string) bool {
	switch key {
	case "retention.ms", "max.message.bytes", configMinInsync:
		h, err1 := strconv.ParseInt(has, 10, 64)
		w, err2 := strconv.ParseInt(want, 10, 64)
		if err1 != nil || err2 != nil {
			return false
		}
		return h >= w || (key == "retention.ms" && h == -1)
	}
	return has == want
}

// layout returns how many partitions a topic has and the fewest replicas of one.
func (c *Client) layout(ctx context.Context, topic string) (partitions, replicas int, err error) {
	err = c.cluster.Retry(ctx, cluster.WaitKey{For: "layout", Topic: topic, Partition: AnyPartition},
		func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
			defer cancel()
			md, err := c.cluster.Kafka.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
			if err != nil {
				return err
			}
			for _, t := range md.Topics {
				if t.Name == topic {
					if errors.Is(t.Error, kafka.UnknownTopicOrPartition) {
						return ErrUnknownTopic
					}
					partitions, replicas = len(t.Partitions), 1<<16
					for _, p := range t.Partitions {
						replicas = min(replicas, len(p.Replicas))
					}
					return t.Error
				}
			}
			return ErrUnknownTopic
		})
	return partitions, replicas, err
}

// Forever is the retention of a topic that keeps everything.
const Forever = time.Duration(math.MaxInt64)

// Retention is the longest time that one of the topics keeps its records.
func (c *Client) Retention(ctx context.Context, topics ...string) (time.Duration, error) {
	var specs []TopicSpec
	for _, t := range topics {
		specs = append(specs, TopicSpec{Name: t})
	}
	configs, err := c.topicConfigs(ctx, specs)
	if err != nil {
		return 0, fmt.Errorf("read the retention of topics: %w", err)
	}
	longest := time.Duration(0)
	for _, t := range topics {
		ms, err := strconv.ParseInt(configs[c.Topic(t)]["retention.ms"], 10, 64)
		switch {
		case err != nil:
			return 0, fmt.Errorf("read the retention of topics: %s has none", c.Topic(t))
		case ms < 0 || ms > Forever.Milliseconds():
			return Forever, nil
		}
		longest = max(longest, time.Duration(ms)*time.Millisecond)
	}
	return longest, nil
}

func (c *Client) topicConfigs(ctx context.Context, specs []TopicSpec) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	if len(specs) == 0 {
		return out, nil
	}
	req := &kafka.DescribeConfigsRequest{}
	for _, s := range specs {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: c.Topic(s.Name),
		})
	}
	err := c.cluster.Retry(ctx, cluster.WaitKey{For: "configs", Topic: c.Topic(specs[0].Name), Partition: AnyPartition},
		func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
			defer cancel()
			res, err := c.cluster.Kafka.DescribeConfigs(ctx, req)
			if err != nil {
				return err
			}
			for _, r := range res.Resources {
				if r.Error != nil {
					return fmt.Errorf("configuration of %s: %w", r.ResourceName, r.Error)
				}
				m := map[string]string{}
				for _, e := range r.ConfigEntries {
					m[e.ConfigName] = e.ConfigValue
				}
				out[r.ResourceName] = m
			}
			return nil
		})
	return out, err
}
