package snapshot

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	statev1 "github.com/tollgate/tollgate/proto/gen/tollgate/state/v1"
)

// Topic keeps snapshots on the topic state.snapshots, keyed by domain and partition.
type Topic struct {
	client   *stream.Client
	producer *stream.Producer
	topic    string
	progress func()
	windows  []time.Duration
}

// NewTopic reads and writes them through client and producer; progress is called while a long read goes on. The newest
// snapshot is looked for as far back as each of windows, one after the other, then in the whole topic.
func NewTopic(client *stream.Client, producer *stream.Producer, progress func(), windows ...time.Duration) *Topic {
	return &Topic{client: client, producer: producer, topic: client.Topic(stream.StateSnapshots), progress: progress, windows: append(windows, 0)}
}

func snapshotKey(domain string, partition int32) []byte {
	return []byte(domain + "/" + strconv.Itoa(int(partition)))
}

// Record is one record of a snapshot as a record of a topic (full name).
func Record(topic string, r *statev1.SnapshotRecord) (stream.Record, error) {
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return stream.Record{}, fmt.Errorf("encode snapshot record: %w", err)
	}
	return stream.Record{Topic: topic, Partition: stream.AnyPartition, Key: snapshotKey(r.GetDomain(), r.GetPartition()), Value: value}, nil
}

// Write returns once the records are acknowledged by all replicas.
func (s *Topic) Write(ctx context.Context, records ...*statev1.SnapshotRecord) error {
	out := make([]stream.Record, len(records))
	for i, r := range records {
		var err error
		if out[i], err = Record(s.topic, r); err != nil {
			return err
		}
	}
	return s.producer.Produce(ctx, out...)
}

// Newest reads the newest snapshot of a partition that has an end mark and whose begin mark is accepted, its records in
// the order written. found is false where there is none.
func (s *Topic) Newest(ctx context.Context, p state.Partition, accept func(*statev1.SnapshotRecord_Begin) (bool, error), each func(*statev1.SnapshotRecord) error) (bool, error) {
	n, err := s.client.Partitions(ctx, s.topic)
	if err != nil {
		return false, err
	}
	partition := stream.PartitionOf(snapshotKey(p.Domain, p.Number), n)
	start, end, err := s.client.Offsets(ctx, s.topic, partition)
	if err != nil {
		return false, err
	}
	for _, window := range s.windows {
		from := start
		if window > 0 {
			if from, err = s.client.OffsetAt(ctx, s.topic, partition, time.Now().Add(-window)); err != nil {
				return false, err
			}
		}
		id, at, err := s.find(ctx, p, partition, from, end, accept)
		if err != nil {
			return false, err
		}
		if id != "" {
			return true, s.read(ctx, p, partition, at, end, id, each)
		}
		if from <= start {
			break
		}
	}
	return false, nil
}

// find returns the id and the first offset of the newest complete snapshot that begins at or after an offset.
func (s *Topic) find(ctx context.Context, p state.Partition, partition int32, from, end int64, accept func(*statev1.SnapshotRecord_Begin) (bool, error)) (id string, at int64, err error) {
	begun := make(map[string]int64)
	err = s.walk(ctx, p, partition, from, end, func(offset int64, r *statev1.SnapshotRecord) (bool, error) {
		switch part := r.GetPart().(type) {
		case *statev1.SnapshotRecord_Begin_:
			// The first, where a lost answer made the writer write it twice.
			if _, ok := begun[r.GetSnapshot()]; ok {
				return true, nil
			}
			ok, err := accept(part.Begin)
			if err != nil {
				return false, err
			}
			if ok {
				begun[r.GetSnapshot()] = offset
			}
		case *statev1.SnapshotRecord_End_:
			if begin, ok := begun[r.GetSnapshot()]; ok && begin >= at {
				id, at = r.GetSnapshot(), begin
			}
		}
		return true, nil
	})
	return id, at, err
}

// read hands out the records of one snapshot; who wrote one twice wrote the same.
func (s *Topic) read(ctx context.Context, p state.Partition, partition int32, from, end int64, id string, each func(*statev1.SnapshotRecord) error) error {
	return s.walk(ctx, p, partition, from, end, func(_ int64, r *statev1.SnapshotRecord) (bool, error) {
		if r.GetSnapshot() != id {
			return true, nil
		}
		err := each(r)
		_, last := r.GetPart().(*statev1.SnapshotRecord_End_)
		return !last, err
	})
}

// walk reads the snapshot records of a partition of state between offsets.
func (s *Topic) walk(ctx context.Context, p state.Partition, partition int32, from, end int64, visit func(int64, *statev1.SnapshotRecord) (more bool, err error)) error {
	key := string(snapshotKey(p.Domain, p.Number))
	for from < end {
		b, err := s.client.FetchFrom(ctx, s.topic, partition, from, 4<<20)
		if err != nil {
			return fmt.Errorf("read snapshots: %w", err)
		}
		s.progress()
		for _, rec := range b.Records {
			if string(rec.Key) != key {
				continue
			}
			r := new(statev1.SnapshotRecord)
			if err := proto.Unmarshal(rec.Value, r); err != nil {
				return fmt.Errorf("read snapshot record at offset %d: %w", rec.Offset, err)
			}
			more, err := visit(rec.Offset, r)
			if err != nil || !more {
				return err
			}
		}
		if b.Next <= from {
			// Nothing came though there is more: a leader that is not there yet.
			return fmt.Errorf("read snapshots: offset %d of %d brought nothing", from, end)
		}
		from = b.Next
	}
	return nil
}
