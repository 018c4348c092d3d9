package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// Bare is what any exact fold on these servers has to do, and nothing else: fetch, read the records of a batch, add, publish one
// in a hundred, write records and watermark in one script that compares the watermark.
type Bare struct {
	// Fleet is the installation whose log is worked, on the servers of the other two.
	Fleet        *fleet.Fleet
	Kafka, Redis *fleet.Server
	// Batch is how many events a commit has, RecordBytes how long a record is: the engine's means.
	Batch, RecordBytes int

	kafka      *kafka.Client
	redis      *redis.Client
	topic, out string
	counted    atomic.Int64
}

// Measure works events.ordered from its beginning, and returns how many events a second between the warm-up and the end of the
// length, or of the log.
func (j *Bare) Measure(ctx context.Context, warmUp, length time.Duration) (perSecond float64, err error) {
	j.redis = redis.NewClient(&redis.Options{Addr: j.Redis.Address(), MaxRetries: -1, ReadBufferSize: 256 << 10, WriteBufferSize: 256 << 10})
	defer j.redis.Close() //nolint:errcheck // the job's own requests return it
	const out = "bare.outcomes"
	if err := j.Fleet.Client.CreateTopics(ctx, []stream.TopicSpec{{Name: out, Partitions: j.Fleet.Partitions(), Replication: 1}}, true); err != nil {
		return 0, err
	}
	dialer := &net.Dialer{}
	transport := &kafka.Transport{Dial: dialer.DialContext, ClientID: "bare"}
	defer transport.CloseIdleConnections()
	j.kafka = &kafka.Client{Addr: kafka.TCP(j.Kafka.Address()), Transport: transport}
	j.topic, j.out = j.Fleet.Client.Topic(stream.EventsOrdered), j.Fleet.Client.Topic(out)
	j.RecordBytes = max(8, j.RecordBytes)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- j.run(ctx) }()
	select {
	case <-time.After(warmUp):
	case err := <-ended:
		return 0, fmt.Errorf("the bare loop ended within the warm-up: %w", err)
	}
	from, first := time.Now(), j.counted.Load()
	rate := func() float64 { return float64(j.counted.Load()-first) / time.Since(from).Seconds() }
	select {
	case <-time.After(length):
		perSecond = rate()
		cancel()
		return perSecond, <-ended
	case err := <-ended:
		return rate(), err
	}
}

var bareScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local set = {KEYS[1], ARGV[2]}
for i = 2, #KEYS do
  set[2*i-1] = KEYS[i]
  set[2*i] = ARGV[i+1]
end
redis.call('MSET', unpack(set))
return 1`)

// run works all partitions from their beginning until their end, or until ctx
// ends.
func (j *Bare) run(ctx context.Context) error {
	var work sync.WaitGroup
	faults := make([]error, j.Fleet.Partitions())
	for p := range j.Fleet.Partitions() {
		work.Add(1)
		go func() {
			defer work.Done()
			faults[p] = j.partition(ctx, p)
		}()
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the measurement is over
	}
	return errors.Join(faults...)
}

func (j *Bare) partition(ctx context.Context, p int) error {
	base := fmt.Sprintf("{bare:%d}", p)
	watermark := base + "w"
	mark := "0"
	if err := j.redis.Set(ctx, watermark, mark, 0).Err(); err != nil {
		return err
	}
	var keys []string
	seen := make(map[string]struct{}, j.Batch)
	events := 0
	flush := func(offset int64) error {
		full := append([]string{watermark}, keys...)
		values, err := j.redis.MGet(ctx, full...).Result()
		if err != nil {
			return err
		}
		next := fmt.Sprint(offset)
		args := make([]any, 0, len(full)+1)
		args = append(args, mark, next)
		for _, v := range values[1:] {
			record := make([]byte, j.RecordBytes)
			if old, ok := v.(string); ok {
				copy(record, old)
			}
			binary.BigEndian.PutUint64(record, binary.BigEndian.Uint64(record)+1)
			args = append(args, record)
		}
		if out := events / 100; out > 0 {
			records := make([]kafka.Record, out)
			for i := range records {
				records[i] = kafka.Record{Key: kafka.NewBytes([]byte(keys[i%len(keys)])), Value: kafka.NewBytes(make([]byte, 300))}
			}
			res, err := j.kafka.Produce(ctx, &kafka.ProduceRequest{Topic: j.out, Partition: p, RequiredAcks: kafka.RequireAll, Records: kafka.NewRecordReader(records...)})
			if err != nil {
				return err
			}
			if res.Error != nil {
				return res.Error
			}
		}
		ok, err := bareScript.Run(ctx, j.redis, full, args...).Int()
		if err != nil {
			return err
		}
		if ok != 1 {
			return errors.New("bare watermark is another's")
		}
		j.counted.Add(int64(events))
		mark, keys, events = next, keys[:0], 0
		clear(seen)
		return nil
	}
	for offset := int64(0); ; {
		res, err := j.kafka.Fetch(ctx, &kafka.FetchRequest{Topic: j.topic, Partition: p, Offset: offset, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: 100 * time.Millisecond})
		if err != nil {
			return err
		}
		if res.Error != nil {
			return res.Error
		}
		began := offset
		for {
			r, err := res.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if r.Offset < offset {
				continue
			}
			key, err := kafka.ReadAll(r.Key)
			if err != nil {
				return err
			}
			if _, err := kafka.ReadAll(r.Value); err != nil {
				return err
			}
			offset = r.Offset + 1
			if _, ok := seen[string(key)]; !ok {
				k := string(key)
				seen[k] = struct{}{}
				keys = append(keys, base+k)
			}
			if events++; events >= j.Batch {
				if err := flush(offset); err != nil {
					return err
				}
			}
		}
		if offset == began {
			if len(keys) > 0 {
				return flush(offset)
			}
			return nil
		}
	}
}
