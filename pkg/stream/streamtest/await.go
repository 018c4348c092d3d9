package streamtest

import (
	"context"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Await reads a topic from its beginning until what it holds is enough, and fails the test where ctx ends first.
func Await(ctx context.Context, t testing.TB, client *stream.Client, name string, enough func([]stream.Record) bool) []stream.Record {
	t.Helper()
	topic := client.Topic(name)
	n, err := client.Partitions(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	next := make([]int64, n)
	var all []stream.Record
	for {
		for p := range next {
			b, err := client.FetchFrom(ctx, topic, int32(p), next[p], 8<<20)
			if err != nil {
				t.Fatalf("%s holds %d records, which is not enough: %v", name, len(all), err)
			}
			next[p] = b.Next
			all = append(all, b.Records...)
		}
		if enough(all) {
			return all
		}
		pause.For(ctx, 5*time.Millisecond)
	}
}
