package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// bytesCodec sends and receives messages as they are, well formed or not.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) ([]byte, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("cannot send %T", v)
	}
	return *b, nil
}

func (bytesCodec) Unmarshal(data []byte, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot receive %T", v)
	}
	*b = bytes.Clone(data)
	return nil
}

const bound = 64 << 20

// call sends one message to a method, and returns how that was answered.
func call(ctx context.Context, conn *grpc.ClientConn, method string, message []byte, opts ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var answer []byte
	opts = append(opts, grpc.ForceCodec(bytesCodec{}), grpc.MaxCallSendMsgSize(bound), grpc.MaxCallRecvMsgSize(bound))
	return conn.Invoke(ctx, method, &message, &answer, opts...)
}

// open sends one message on a stream, and reads until it ends or has answered.
func open(ctx context.Context, conn *grpc.ClientConn, method string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	s, err := conn.NewStream(ctx, desc, method, grpc.ForceCodec(bytesCodec{}), grpc.MaxCallSendMsgSize(bound), grpc.MaxCallRecvMsgSize(bound))
	if err != nil {
		return err
	}
	if err := s.SendMsg(&message); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var answer []byte
	if err := s.RecvMsg(&answer); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// refused holds an answer against the codes that it may have.
func refused(err error, want ...codes.Code) (string, error) {
	got := status.Code(err)
	for _, code := range want {
		if got == code {
			return code.String() + ": " + short(status.Convert(err).Message()), nil
		}
	}
	return "", fmt.Errorf("answered %s, not %v: %s", got, want, short(fmt.Sprint(err)))
}

func short(s string) string {
	const limit = 90
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// post sends a body by HTTP, and wants one of some statuses.
func post(ctx context.Context, b *bed, key bool, header map[string]string, body io.Reader, want ...int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url(), body)
	if err != nil {
		return "", err
	}
	if key {
		req.Header.Set("authorization", "Bearer "+b.fleet.Key)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	res, err := web.Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	for _, status := range want {
		if res.StatusCode == status {
			return fmt.Sprintf("%d %s", status, short(string(text))), nil
		}
	}
	return "", fmt.Errorf("answered %d, not %v: %s", res.StatusCode, want, short(string(text)))
}

// compressedBatch is a record batch of version 2 around a payload that is compressed already.
func compressedBatch(codec int16, count, lastDelta int32, payload []byte) []byte {
	now := time.Now().UnixMilli()
	b := make([]byte, 61, 61+len(payload))
	binary.BigEndian.PutUint32(b[8:], uint32(len(payload)+49))
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], uint16(codec))
	binary.BigEndian.PutUint32(b[23:], uint32(lastDelta))
	binary.BigEndian.PutUint64(b[27:], uint64(now))
	binary.BigEndian.PutUint64(b[35:], uint64(now))
	binary.BigEndian.PutUint64(b[43:], ^uint64(0))
	binary.BigEndian.PutUint16(b[51:], ^uint16(0))
	binary.BigEndian.PutUint32(b[53:], ^uint32(0))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	b = append(b, payload...)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// record is one record of a batch, of a value alone.
func record(delta int64, value []byte) []byte {
	body := []byte{0, 0}
	body = binary.AppendVarint(body, delta)
	body = binary.AppendVarint(body, -1)
	body = binary.AppendVarint(body, int64(len(value)))
	body = append(body, value...)
	body = binary.AppendVarint(body, 0)
	return append(binary.AppendVarint(nil, int64(len(body))), body...)
}

// zeros is n records of size bytes each, compressed.
func zeros(codec kafka.Compression, n, size int) ([]byte, error) {
	var out bytes.Buffer
	w := codec.Codec().NewWriter(&out)
	value := make([]byte, size)
	for i := range n {
		if _, err := w.Write(record(int64(i), value)); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return compressedBatch(int16(codec), int32(n), int32(n-1), out.Bytes()), err
}

// append writes a batch to a partition of the inbound topic as it is.
func (b *bed) append(ctx context.Context, partition int, batch []byte) error {
	// kafka-go writes the set as it is given, its length included.
	set := append(binary.BigEndian.AppendUint32(nil, uint32(len(batch))), batch...)
	res, err := b.raw.RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: b.inbound(), Partition: partition, RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(set)},
	})
	if err != nil {
		return err
	}
	return res.Error
}

// rejected waits for a record of the rejected topic that is wanted, from where the topic ended at the time of the call
// that made it.
func (b *bed) rejected(ctx context.Context) (wait func(wanted func(event.Rejection) bool) (event.Rejection, error), err error) {
	topic := b.fleet.Client.Topic(stream.EventsRejected)
	next := make([]int64, partitions)
	for p := range next {
		if _, next[p], err = b.fleet.Client.Offsets(ctx, topic, int32(p)); err != nil {
			return nil, err
		}
	}
	return func(wanted func(event.Rejection) bool) (event.Rejection, error) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			for p := range next {
				batch, err := b.fleet.Client.FetchFrom(ctx, topic, int32(p), next[p], 8<<20)
				if err != nil {
					return event.Rejection{}, err
				}
				next[p] = batch.Next
				for _, r := range batch.Records {
					if j, err := event.ParseRejected(r); err == nil && wanted(j) {
						return j, nil
					}
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return event.Rejection{}, errors.New("nothing was rejected")
			}
		}
	}, nil
}
