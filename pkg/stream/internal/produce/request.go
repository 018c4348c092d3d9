package produce

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go/protocol"

	"github.com/tollgate/tollgate/pkg/stream/internal/cluster"
	"github.com/tollgate/tollgate/pkg/stream/internal/codec"
)

// request sends one request; each batch gets its own result, the error is about
// the request.
func request(ctx context.Context, c *cluster.Cluster, broker int32, load []*partitionBatch) error {
	ctx, cancel := context.WithTimeout(ctx, c.CallTimeout)
	defer cancel()
	wait := c.CallTimeout
	if len(load) > 1 {
		wait = min(wait, sharedFor)
	}
	got, err := c.Request(ctx, &codec.Request{
		To: broker, Key: protocol.Produce, Version: codec.ProduceVersion, Topic: load[0].topic,
		Partition: load[0].partition,
		Body:      func(b []byte) []byte { return appendProduce(b, load, wait) },
	})
	if err != nil {
		return err
	}
	for _, x := range load {
		x.err = codec.ErrNotNamed
	}
	return readProduce(got, load)
}

func appendProduce(b []byte, load []*partitionBatch, wait time.Duration) []byte {
	be := binary.BigEndian
	b = be.AppendUint16(b, ^uint16(0)) // no transaction
	b = be.AppendUint16(b, ^uint16(0)) // all in-sync replicas acknowledge
	b = be.AppendUint32(b, uint32(wait.Milliseconds()))
	return codec.ByTopic(b, load, func(x **partitionBatch) string { return (*x).topic },
		func(b []byte, x **partitionBatch) []byte {
			b = be.AppendUint32(b, uint32((*x).partition))
			b = be.AppendUint32(b, uint32(len((*x).set)))
			return append(b, (*x).set...)
		})
}

func readProduce(body []byte, load []*partitionBatch) error {
	r := codec.FieldsOf(body)
	for range r.Count() {
		topic := string(r.String())
		for range r.Count() {
			partition := r.Int32()
			code := r.Int16()
			base := r.Int64()
			r.Int64() // append time
			r.Int64() // log start
			var refused []int32
			for range r.Count() {
				refused = append(refused, r.Int32())
				r.String() // why
			}
			message := r.String()
			i := slices.IndexFunc(load, func(x *partitionBatch) bool {
				return x.partition == partition &&
					x.topic == topic
			})
			if r.Bad || i < 0 {
				continue
			}
			load[i].base, load[i].refused, load[i].err = base, refused, codec.ErrorOf(code, message)
		}
	}
	if r.Bad {
		return fmt.Errorf("read answer to a produce: %w", codec.ErrWire)
	}
	return nil
}
