package docs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// grpcurl does what the program of that name does with the flags that the documents use; it returns the method's name.
func grpcurl(ctx context.Context, args []string) (method string, err error) {
	var key, data, address string
	limit := patience
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-plaintext":
		case "-H":
			i++
			key = strings.TrimPrefix(args[i], "authorization: Bearer ")
		case "-d":
			i++
			data = args[i]
		case "-max-time":
			i++
			seconds, err := strconv.Atoi(args[i])
			if err != nil {
				return "", err
			}
			limit = time.Duration(seconds) * time.Second
		default:
			if strings.HasPrefix(args[i], "-") {
				return "", fmt.Errorf("the test does not know its flag %s", args[i])
			}
			if address == "" {
				address = args[i]
			} else {
				method = args[i]
			}
		}
	}
	name := protoreflect.FullName(strings.Replace(method, "/", ".", 1))
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return method, err
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return method, fmt.Errorf("%s is no method", name)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request := dynamicpb.NewMessage(m.Input())
	if err := protojson.Unmarshal([]byte(data), request); err != nil {
		return method, err
	}
	conn, err := rpc.Dial(address, key)
	if err != nil {
		return method, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return method, call(ctx, conn, method, m, request)
}

// call prints each answer.
func call(ctx context.Context, conn *grpc.ClientConn, method string, m protoreflect.MethodDescriptor, request *dynamicpb.Message) error {
	answers, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: m.IsStreamingServer()}, "/"+method)
	if err != nil {
		return err
	}
	if err := errors.Join(answers.SendMsg(request), answers.CloseSend()); err != nil {
		return err
	}
	for n := 0; ; n++ {
		answer := dynamicpb.NewMessage(m.Output())
		if err := answers.RecvMsg(answer); err != nil {
			if errors.Is(err, io.EOF) && n > 0 {
				return nil
			}
			return err
		}
		fmt.Println(protojson.Format(answer))
		if !m.IsStreamingServer() {
			return nil
		}
	}
}

// awaitInForce waits until the newest revision of the configuration stands in every partition that is worked.
func awaitInForce(ctx context.Context) (err error) {
	conn, err := rpc.Dial(os.Getenv("TOLLGATE_CONFIG_ADDR"), os.Getenv("TOLLGATE_API_KEY"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	watch, err := configv1.NewConfigWatchServiceClient(conn).Watch(ctx, &configv1.WatchRequest{})
	if err != nil {
		return err
	}
	head, err := watch.Recv()
	if err != nil {
		return err
	}
	client, err := stream.Open(stream.Config{Brokers: []string{os.Getenv("TOLLGATE_KAFKA_BROKERS")}, Prefix: stream.DefaultConfig().Prefix},
		zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for _, topic := range []string{stream.EventsOrdered, stream.Safeguards} {
		if err := awaitIn(ctx, client, client.Topic(topic), head.GetApplyRevision()); err != nil {
			return fmt.Errorf("wait for revision %d on %s: %w", head.GetApplyRevision(), topic, err)
		}
	}
	return nil
}

func awaitIn(ctx context.Context, client *stream.Client, topic string, revision int64) error {
	partitions, err := client.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for p := range partitions {
		for from, found := int64(0), false; !found; {
			batch, err := client.FetchFrom(ctx, topic, int32(p), from, 1<<20)
			if err != nil {
				return err
			}
			for _, r := range batch.Records {
				found = found || revisionIn(r) >= revision
			}
			if from = batch.Next; len(batch.Records) > 0 {
				continue
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-again.C:
			}
		}
	}
	return nil
}

// revisionIn is the revision that a control record puts in force, 0 of any other record.
func revisionIn(r stream.Record) int64 {
	e, err := event.Decode(r.Value)
	if err != nil || e.Type != event.TypeRevision {
		return 0
	}
	revision, ok := e.Data.(interface{ GetRevision() int64 })
	if !ok {
		return 0
	}
	return revision.GetRevision()
}
