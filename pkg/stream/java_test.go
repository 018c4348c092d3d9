package stream_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
)

// The Java client writes transactions that are committed, aborted and open, and shows what may be read of them. It runs
// with TOLLGATE_TEST_CLIENTS=1: make test-clients.
func TestJavaClient_ReadsTheSameOfTransactions(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") != "1" {
		t.Skip("make test-clients runs it")
	}
	addrs, ok := streamtest.RealKafka(t)
	if !ok {
		return
	}
	c, topic, ctx := openAt(t, addrs, streamtest.NewPrefix(t), 1)
	cmd := exec.CommandContext(ctx, "java", "-Xmx256m", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(streamtest.KafkaJars(t), "*"), filepath.Join("testdata",
			"Transactions.java"), strings.Join(addrs, ","), topic)
	var output strings.Builder
	cmd.Stderr = &output
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for _, phase := range []string{"while a transaction is open", "after it was aborted"} {
		var want []string
		for lines.Scan() {
			want = append(want, lines.Text())
			if strings.HasPrefix(lines.Text(), "end ") {
				break
			}
		}
		_, end, err := c.Offsets(ctx, topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for from := int64(0); from < end; {
			b, err := c.FetchFrom(ctx, topic, 0, from, 1000) // many answers, each with its own list of what was aborted
			if err != nil {
				t.Fatal(err)
			}
			if b.Next == from {
				t.Fatalf("%s: nothing at %d, below the end %d", phase, from, end)
			}
			if b.End != end {
				t.Errorf("%s: an answer has the end %d, not %d", phase, b.End, end)
			}
			for _, r := range b.Records {
				got = append(got, fmt.Sprintf("%d %s", r.Offset, r.Value))
			}
			from = b.Next
		}
		got = append(got, fmt.Sprintf("end %d", end))
		if len(want) < 50 || strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s, read:\n%s\nthe Java client:\n%s\n%s", phase, strings.Join(got, "\n"),
				strings.Join(want, "\n"), output.String())
		}
		_, _ = io.WriteString(in, "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, output.String())
	}
}

// openAt is a client with a topic "t" of its own.
func openAt(t *testing.T, addrs []string, prefix string, partitions int) (*stream.Client, string, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c, err := stream.Open(stream.Config{Brokers: addrs, Prefix: prefix}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.CreateTopics(ctx, []stream.TopicSpec{{Name: "t", Partitions: partitions, Replication: 1}},
		true); err != nil {
		t.Fatal(err)
	}
	return c, c.Topic("t"), ctx
}
