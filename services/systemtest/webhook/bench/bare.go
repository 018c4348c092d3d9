package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// trusting is a client of one authority.
func trusting(authority string, connections int) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("the receiver's authority can't be read")
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxIdleConns:    connections, MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
	}}, nil
}

// bareJob is what any sender on these servers has to do, and nothing else: fetch, sign, post on kept connections, produce an
// attempt of the same size with acks=all in groups, write to Redis once a group. It keeps no order, bounds nothing, and
// repeats nothing.
type bareJob struct {
	fleet   *fleet.Fleet
	redis   *redis.Client
	client  *http.Client
	url     string
	secret  webhook.Secret
	workers int
	done    atomic.Int64
}

// group is how many results are recorded together, as many as the service's commit has at most.
const group = 500

func (j *bareJob) run(ctx context.Context, partitions int) error {
	var work sync.WaitGroup
	faults := make([]error, partitions)
	for p := range partitions {
		work.Go(func() { faults[p] = j.partition(ctx, p, max(1, j.workers/partitions)) })
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the measurement is over
	}
	return errors.Join(faults...)
}

func (j *bareJob) partition(ctx context.Context, p, workers int) error {
	producer := j.fleet.Client.NewProducer()
	defer producer.Close(context.WithoutCancel(ctx)) //nolint:errcheck // each group was acknowledged
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	jobs, results := make(chan stream.Record, workers), make(chan stream.Record, group)
	var senders sync.WaitGroup
	for range workers {
		senders.Go(func() {
			for r := range jobs {
				attempt, err := j.post(ctx, r)
				if err != nil {
					cancel(err)
					return
				}
				results <- attempt
			}
		})
	}
	var recorder sync.WaitGroup
	recorder.Go(func() {
		if err := j.record(ctx, p, producer, results); err != nil {
			cancel(err)
			for range results { //nolint:revive // senders must not wait
			}
		}
	})
	tail := j.fleet.Follow("deliveries.webhook", int32(p))
	err := func() error {
		for {
			records, err := tail.Read(ctx)
			if err != nil || len(records) == 0 {
				return err
			}
			for _, r := range records {
				select {
				case jobs <- r:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
		}
	}()
	close(jobs)
	senders.Wait()
	close(results)
	recorder.Wait()
	return err
}

// post makes one request and the record of its attempt.
func (j *bareJob) post(ctx context.Context, r stream.Record) (stream.Record, error) {
	d, err := delivery.Decode(r)
	if err != nil {
		return r, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.url+"/e/"+d.Endpoint[len("tenants/acme/endpoints/"):], bytes.NewReader(d.Body))
	if err != nil {
		return r, err
	}
	now := time.Now()
	req.Header.Set("webhook-id", d.ID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("webhook-signature", webhook.Sign([]webhook.Secret{j.secret}, d.ID, now, d.Body))
	req.Header.Set("content-type", d.ContentType)
	res, err := j.client.Do(req)
	if err != nil {
		return r, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode/100 != 2 {
		return r, fmt.Errorf("status %d, %w", res.StatusCode, err)
	}
	// As many bytes as an attempt of the service has.
	return stream.Record{Topic: j.fleet.Client.Topic("deliveries.attempts"), Partition: d.Partition, Key: r.Key, Value: make([]byte, attemptBytes), Time: now}, nil
}

// attemptBytes is the size of an attempt of the service with such deliveries, as measured on its topic.
const attemptBytes = 900

func (j *bareJob) record(ctx context.Context, p int, producer *stream.Producer, results <-chan stream.Record) error {
	var batch []stream.Record
	for r := range results {
		batch = append(batch[:0], r)
		full := time.After(10 * time.Millisecond)
	collect:
		for len(batch) < group {
			select {
			case r, ok := <-results:
				if !ok {
					break collect
				}
				batch = append(batch, r)
			case <-full:
				break collect
			}
		}
		if err := producer.Produce(ctx, batch...); err != nil {
			return err
		}
		if err := j.redis.Set(ctx, fmt.Sprintf("{bare:%d}", p), len(batch), 0).Err(); err != nil {
			return err
		}
		j.done.Add(int64(len(batch)))
	}
	return nil
}
