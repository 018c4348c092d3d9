package consume

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
)

// membership is a kafka-go consumer group and the connections it has open.
type membership struct {
	group *kafka.ConsumerGroup
	log   *zap.Logger
	id    string

	conns cluster.Connections

	closing sync.Once
	left    chan struct{} // closed once the broker has the leave request, or did not take it
}

func (g *group) join() (*membership, error) {
	m := &membership{log: g.c.Log, id: g.id, left: make(chan struct{})}
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:      g.id,
		Brokers: g.c.Brokers,
		Topics:  g.topics,
		Dialer: &kafka.Dialer{
			ClientID: g.c.ClientID,
			Timeout:  3 * time.Second,
			DialFunc: m.conns.Dial(g.c.Dial),

			TLS:           g.c.TLS,
			SASLMechanism: g.c.SASL,
		},
		HeartbeatInterval: g.cfg.Heartbeat,
		SessionTimeout:    g.cfg.Session,
		RebalanceTimeout:  g.cfg.Rebalance,
		JoinGroupBackoff:  500 * time.Millisecond,
		Timeout:           min(5*time.Second, g.c.CallTimeout),
		Logger:            nil,
		ErrorLogger:       nil,
	})
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	m.group = cg
	return m, nil
}

// leaveGrace is how long leaving may wait for an answer that is on its way,
// such as a join that the broker holds until all members are there.
const leaveGrace = 2 * time.Second

// leave ends the membership at the broker. kafka-go waits for the
// call it is in, up to the whole rebalance timeout, so connections are cut when
// that takes long; the leave itself dials anew.
func (m *membership) leave() {
	defer m.conns.Close()
	m.close()
	for range 5 {
		t := time.NewTimer(leaveGrace)
		select {
		case <-m.left:
			t.Stop()
			return
		case <-t.C:
			m.conns.Cut()
		}
	}
	m.log.Warn("group not left in time: its partitions move after the session timeout", zap.String("group", m.id))
}

// close begins to leave and returns once kafka-go knows.
func (m *membership) close() {
	m.closing.Do(func() {
		go func() {
			defer close(m.left)
			_ = m.group.Close() // always nil
		}()
	})
	for {
		_, err := m.group.Next(untilClosed{})
		if errors.Is(err, kafka.ErrGroupClosed) {
			return
		}
	}
}

// untilClosed is a context that never ends: the group's own end is waited for.
type untilClosed struct{ context.Context }

func (untilClosed) Done() <-chan struct{} { return nil }
func (untilClosed) Err() error            { return nil }

// committed reads the group's offsets of the assigned partitions; -1 means none.
// kafka-go reads them too but turns "none" into a start of its own.
func (g *group) committed(ctx context.Context, gen *kafka.Generation) (map[partitionKey]Position, error) {
	var ask []Position
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			ask = append(ask, Position{Topic: topic, Partition: int32(p.ID)})
		}
	}
	all, err := g.c.Positions(ctx, g.id, ask)
	if err != nil {
		return nil, err
	}
	out := make(map[partitionKey]Position, len(all))
	for _, p := range all {
		out[partitionKey{p.Topic, p.Partition}] = p
	}
	return out, nil
}
