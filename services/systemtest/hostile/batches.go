package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"

	"github.com/tollgate/tollgate/pkg/event"
)

// batches are record batches of a careless or hostile producer. Kafka refuses some of them; what it takes has to be
// on the rejected topic.
func batches() []attempt {
	var all []attempt
	add := func(name string, make func() ([]byte, error)) {
		all = append(all, attempt{"batch: " + name, func(ctx context.Context, b *bed) (string, error) {
			batch, err := make()
			if err != nil {
				return "", err
			}
			wait, err := b.rejected(ctx)
			if err != nil {
				return "", err
			}
			var kafkaErr kafka.Error
			if err := b.append(ctx, 3, batch); errors.As(err, &kafkaErr) {
				return fmt.Sprintf("Kafka refuses it: %s", kafkaErr.Title()), nil
			} else if err != nil {
				return "", err
			}
			j, err := wait(func(j event.Rejection) bool { return j.Topic == b.inbound() && j.Partition == 3 })
			return "rejected: " + j.Reason, err
		}})
	}
	bomb := func(codec kafka.Compression, n, size int) func() ([]byte, error) {
		return func() ([]byte, error) { return zeros(codec, n, size) }
	}
	add("300 MB of zeros in zstd", bomb(kafka.Zstd, 300, 1e6))
	add("300 MB of zeros in gzip", bomb(kafka.Gzip, 300, 1e6))
	add("300 MB of zeros in lz4", bomb(kafka.Lz4, 300, 1e6))
	add("35 MB of zeros in snappy", bomb(kafka.Snappy, 35, 1e6))
	add("one record of 400 MB in zstd", bomb(kafka.Zstd, 1, 400e6))
	add("900,000 empty records in zstd", bomb(kafka.Zstd, 900_000, 0))
	compressed := func(codec kafka.Compression, payload []byte) ([]byte, error) {
		var out bytes.Buffer
		w := codec.Codec().NewWriter(&out)
		_, err := w.Write(payload)
		return out.Bytes(), errors.Join(err, w.Close())
	}
	add("zstd that is cut off", func() ([]byte, error) {
		payload, err := compressed(kafka.Zstd, bytes.Repeat(record(0, []byte("a value that is long enough to be cut")), 1000))
		return compressedBatch(int16(kafka.Zstd), 1000, 999, payload[:len(payload)/2]), err
	})
	add("gzip of something else", func() ([]byte, error) {
		payload, err := compressed(kafka.Gzip, bytes.Repeat([]byte{0xff}, 1<<20))
		return compressedBatch(int16(kafka.Gzip), 1, 0, payload), err
	})
	add("a head that counts 2^31-1 records", func() ([]byte, error) {
		payload, err := compressed(kafka.Zstd, record(0, []byte("one")))
		return compressedBatch(int16(kafka.Zstd), 1<<31-1, 1<<31-2, payload), err
	})
	add("a record of negative length", func() ([]byte, error) {
		payload, err := compressed(kafka.Zstd, binary.AppendVarint(nil, -5))
		return compressedBatch(int16(kafka.Zstd), 1, 0, payload), err
	})
	add("a codec that does not exist", func() ([]byte, error) { return compressedBatch(7, 1, 0, record(0, []byte("x"))), nil })
	add("a checksum that is wrong", func() ([]byte, error) {
		batch := compressedBatch(0, 1, 0, record(0, []byte("x")))
		batch[17] ^= 0xff
		return batch, nil
	})
	add("a value of random bytes, 1.9 MB", func() ([]byte, error) { return compressedBatch(0, 1, 0, record(0, noise(1.9e6))), nil })
	return all
}

// noise does not compress, and is the same each time.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}
