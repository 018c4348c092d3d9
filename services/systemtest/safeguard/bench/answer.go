package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tollgate/tollgate/pkg/stream"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// answerer is the lowest latency there can be: a process that answers as safeguard does, but knows nothing. It allows an
// Authorize at once, and a charge once a record is in a log and a value in the store, which is less than any service has to do that
// must not forget it.
type answerer struct {
	optionsv1.UnimplementedEnforcementServiceServer
	log   *stream.Producer
	topic string
	store *redis.Client
}

// AuthorizeStream allows.
func (a *answerer) AuthorizeStream(s grpc.BidiStreamingServer[optionsv1.AuthorizeStreamRequest, optionsv1.AuthorizeStreamResponse]) error {
	allowed := &optionsv1.AuthorizeResponse{Decision: optionsv1.AuthorizeResponse_DECISION_ALLOW}
	for {
		req, err := s.Recv()
		if err != nil {
			return ended(err)
		}
		if err := s.Send(&optionsv1.AuthorizeStreamResponse{Tag: req.GetTag(), Answer: &optionsv1.AuthorizeStreamResponse_Response{Response: allowed}}); err != nil {
			return err
		}
	}
}

// ChargeStream writes what was asked for, and allows.
func (a *answerer) ChargeStream(s grpc.BidiStreamingServer[optionsv1.ChargeStreamRequest, optionsv1.ChargeStreamResponse]) error {
	var work sync.WaitGroup
	defer work.Wait()
	var sending sync.Mutex
	for {
		req, err := s.Recv()
		if err != nil {
			return ended(err)
		}
		work.Go(func() {
			key := req.GetRequest().GetName()
			record := stream.Record{Topic: a.topic, Partition: stream.AnyPartition, Key: []byte(key), Value: make([]byte, 300)}
			err := a.log.Produce(s.Context(), record)
			if err == nil {
				err = a.store.Set(s.Context(), "bare:"+key, make([]byte, 366), 0).Err()
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "bare charge:", err) // the caller gets one that is not allowed
			}
			sending.Lock()
			defer sending.Unlock()
			// Where it can't be sent the stream has ended, and the caller has the error.
			_ = s.Send(&optionsv1.ChargeStreamResponse{Tag: req.GetTag(), Answer: &optionsv1.ChargeStreamResponse_Response{
				Response: &optionsv1.ChargeResponse{Allowed: err == nil},
			}})
		})
	}
}

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// answer is the process: it prints its address, and ends with its standard input.
func answer(broker, store, topic string) error {
	client, err := stream.Open(stream.Config{Brokers: []string{broker}, Prefix: "bare"}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	optionsv1.RegisterEnforcementServiceServer(s, &answerer{log: client.NewProducer(), topic: topic, store: redis.NewClient(&redis.Options{Addr: store})})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		s.Stop()
	}()
	fmt.Println(l.Addr())
	return s.Serve(l)
}

// answering starts such a process for a fleet. end ends it.
func (s *bed) answering(ctx context.Context, f *fleet.Fleet) (conn *grpc.ClientConn, end func() error, err error) {
	const topic = "bare.charges"
	if err := f.Client.CreateTopics(ctx, []stream.TopicSpec{{Name: topic, Partitions: f.Partitions(), Replication: 1}}, true); err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	process := exec.CommandContext(ctx, self, "answer", s.kafka.Address(), s.redis.Address(), f.Client.Topic(topic))
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := process.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := process.Start(); err != nil {
		return nil, nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		conn, err = grpc.NewClient(strings.TrimSpace(line), grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if err != nil {
		return nil, nil, errors.Join(err, in.Close(), process.Wait())
	}
	return conn, func() error { return errors.Join(conn.Close(), in.Close(), process.Wait()) }, nil
}
