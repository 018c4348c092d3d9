package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"
)

// bareJob is what any exact counter on these servers has to do, and nothing
// else: fetch, read the records of a batch, add, publish one in a hundred,
// write records and watermark in one script that compares the watermark.
type bareJob struct {
	kafka       *kafka.Client
	redis       *redis.Client
	topic, out  string
	partitions  int
	batch       int
	recordBytes int

	counted atomic.Int64
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
func (j *bareJob) run(ctx context.Context) error {
	var work sync.WaitGroup
	faults := make([]error, j.partitions)
	for p := range j.partitions {
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

func (j *bareJob) partition(ctx context.Context, p int) error {
	base := fmt.Sprintf("{bare:%d}", p)
	watermark := base + "w"
	mark := "0"
	if err := j.redis.Set(ctx, watermark, mark, 0).Err(); err != nil {
		return err
	}
	var keys []string
	seen := make(map[string]struct{}, j.batch)
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
			record := make([]byte, j.recordBytes)
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
			if events++; events >= j.batch {
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
