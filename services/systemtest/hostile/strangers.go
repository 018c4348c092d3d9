package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // a caller may compress
)

// tiny is 8 MiB of fields of two bytes: field 1, a message that is empty.
func tiny() []byte { return bytes.Repeat([]byte{0x0a, 0x00}, 4<<20) }

// strangers send without a key; then the same is sent with one.
func strangers() []attempt {
	var all []attempt
	for _, to := range []struct{ service, method string }{
		{"ingest", "/tollgate.ingest.v1.IngestService/Publish"},
		{"ingest", "/tollgate.ingest.v1.IngestService/PublishBatch"},
		{"ingest", "/tollgate.ingest.v1.IngestService/PublishStream"},
		{"config", "/tollgate.config.v1.NotificationService/CreateNotification"},
		{"config", "/tollgate.config.v1.ConfigWatchService/Snapshot"},
		{"config", "/tollgate.config.v1.ConfigWatchService/Watch"},
		{"safeguard", "/tollgate.options.v1.EnforcementService/Authorize"},
		{"safeguard", "/tollgate.options.v1.EnforcementService/ChargeStream"},
		{"safeguard", "/tollgate.options.v1.OptionInventoryService/Watch"},
		{"trigger", "/tollgate.trigger.v1.RuleService/DryRun"},
		{"webhook", "/tollgate.delivery.v1.TestService/SendTest"},
	} {
		all = append(all, attempt{"stranger: 4 million empty fields to " + to.method, func(ctx context.Context, b *bed) (string, error) {
			return refused(open(ctx, b.stranger[to.service], to.method, tiny()), codes.Unauthenticated)
		}})
	}
	all = append(all,
		attempt{"stranger: 4 million empty fields, compressed", func(ctx context.Context, b *bed) (string, error) {
			return refused(call(ctx, b.stranger["ingest"], "/tollgate.ingest.v1.IngestService/PublishBatch", tiny(), grpc.UseCompressor("gzip")),
				codes.Unauthenticated, codes.Unimplemented)
		}},
		attempt{"stranger: 8 MiB to the health service", func(ctx context.Context, b *bed) (string, error) {
			return refused(call(ctx, b.stranger["trigger"], "/grpc.health.v1.Health/Check", tiny()), codes.ResourceExhausted, codes.InvalidArgument)
		}},
		attempt{"stranger: 8 MiB to reflection", func(ctx context.Context, b *bed) (string, error) {
			return refused(open(ctx, b.stranger["webhook"], "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", tiny()), codes.ResourceExhausted, codes.InvalidArgument)
		}},
		attempt{"stranger: 8 MiB by HTTP", func(ctx context.Context, b *bed) (string, error) {
			return orCut(post(ctx, b, false, map[string]string{"content-type": "application/cloudevents-batch+json"}, bytes.NewReader(bytes.Repeat([]byte("[]"), 4<<20)), 401))
		}},
		attempt{"stranger: 500 connections that send nothing", func(ctx context.Context, b *bed) (string, error) { return idle(ctx, b, 500) }},
		attempt{"caller: 4 million empty fields to PublishBatch", func(ctx context.Context, b *bed) (string, error) {
			return refused(call(ctx, b.key["ingest"], "/tollgate.ingest.v1.IngestService/PublishBatch", tiny()), tooMuch...)
		}},
		attempt{"caller: 4 million empty fields to CreateNotification", func(ctx context.Context, b *bed) (string, error) {
			return refused(call(ctx, b.key["config"], "/tollgate.config.v1.NotificationService/CreateNotification", tiny()), tooMuch...)
		}},
		attempt{"caller: 4 million empty fields to Charge", func(ctx context.Context, b *bed) (string, error) {
			return refused(call(ctx, b.key["safeguard"], "/tollgate.options.v1.EnforcementService/Charge", tiny()), tooMuch...)
		}},
		attempt{"caller: a body of gzip that unpacks to 1 GB", func(ctx context.Context, b *bed) (string, error) {
			body, err := gzipped(1 << 30)
			if err != nil {
				return "", err
			}
			return post(ctx, b, true, map[string]string{"content-type": "application/cloudevents+json", "content-encoding": "gzip"}, bytes.NewReader(body), 400, 413)
		}},
		attempt{"caller: a body without an end", func(ctx context.Context, b *bed) (string, error) {
			return orCut(post(ctx, b, true, map[string]string{"content-type": "application/cloudevents+json"}, io.LimitReader(endless{}, 1<<30), 400, 413))
		}},
		attempt{"caller: a header of 2 MB", func(ctx context.Context, b *bed) (string, error) {
			return orCut(post(ctx, b, true, map[string]string{"content-type": "application/json", "ce-id": strings.Repeat("i", 2<<20)}, strings.NewReader("{}"), 400, 431))
		}},
		attempt{"caller: JSON in JSON, a million times", func(ctx context.Context, b *bed) (string, error) {
			return post(ctx, b, true, map[string]string{"content-type": "application/cloudevents+json"},
				strings.NewReader(`{"specversion":"1.0","id":"1","source":"s","type":"client.created","tenant":"bad","subject":"client/1","time":"2026-11-29T00:00:00Z","data":`+strings.Repeat("[", 1<<20)), 400, 413)
		}},
	)
	return all
}

// orCut takes a connection that is cut for an answer: a sender that is still writing may not see the answer that was written.
func orCut(answer string, err error) (string, error) {
	if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return "the connection is cut", nil
	}
	return answer, err
}

func gzipped(n int64) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := io.CopyN(w, endless{}, n)
	return out.Bytes(), errors.Join(err, w.Close())
}

// endless reads as blanks.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// idle opens connections to both listeners of ingest and sends nothing, for two seconds.
func idle(ctx context.Context, b *bed, n int) (string, error) {
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for i := range n {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", b.members["ingest"].Address([]string{"grpc", "http"}[i%2]))
		if err != nil {
			return "", err
		}
		open = append(open, c)
	}
	wait := time.NewTimer(goal)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	return fmt.Sprintf("%d stay open", n), nil
}
