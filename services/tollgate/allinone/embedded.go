package allinone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/port"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Where the embedded servers listen unless the port is taken: not where real ones are looked for.
const (
	kafkaAddress = "127.0.0.1:19192"
	redisAddress = "127.0.0.1:16479"
)

// partitions of each topic, enough for every core of a laptop.
const partitions = 8

// servers are the embedded Kafka and Redis.
type servers struct {
	kafka *kfake.Cluster
	redis *miniredis.Miniredis
}

// startServers keeps Kafka's data in dir: what it acknowledges is on disk.
func startServers(ctx context.Context, dir string, anyPort bool) (*servers, error) {
	_, text, err := net.SplitHostPort(free(ctx, kafkaAddress, anyPort))
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka: %w", err)
	}
	options := []kfake.Opt{kfake.NumBrokers(1), kfake.DataDir(dir), kfake.SyncWrites(), kfake.MaxVersions(offered())}
	if port != 0 {
		options = append(options, kfake.Ports(port))
	}
	kafka, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, fmt.Errorf("start embedded kafka: %w", err)
	}
	redis := miniredis.NewMiniRedis()
	if err := redis.StartAddr(free(ctx, redisAddress, anyPort)); err != nil {
		kafka.Close()
		return nil, fmt.Errorf("start embedded redis: %w", err)
	}
	return &servers{kafka, redis}, nil
}

func (s *servers) close() {
	s.redis.Close()
	s.kafka.Close()
}

// offered are the requests that the embedded Kafka takes. It answers DescribeTopicPartitions with a null list on which
// the Java admin client fails; without that request the client describes topics by their metadata.
func offered() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(kmsg.DescribeTopicPartitions.Int16(), -1)
	return v
}

// createTopics waits until every partition can be written to.
func createTopics(ctx context.Context, cfg stream.Config) error {
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	return errors.Join(client.CreateTopics(ctx, table.Topics(partitions), true), client.Close())
}

// free is the address if its port is free, else the same host with port 0, any free one; that at once where anyPort is
// set.
func free(ctx context.Context, address string, anyPort bool) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address // validated with the rest of the configuration
	}
	if !anyPort {
		if listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address); err == nil {
			// Where the port is taken meanwhile the start fails, with an error about it.
			_ = listener.Close()
			return address
		}
	}
	return net.JoinHostPort(host, "0")
}

// ahead is an address for a service that listens later, and that others are given before: the usual one, or a free one that no
// one else is given meanwhile.
func ahead(ctx context.Context, address string, anyPort bool) (string, error) {
	address = free(ctx, address, anyPort)
	host, text, err := net.SplitHostPort(address)
	if err != nil || text != "0" {
		return address, err
	}
	return port.Free(ctx, host)
}
