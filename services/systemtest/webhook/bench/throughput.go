package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// installation is a fleet with config running, and n endpoints at the receiver with a path each.
func (b *bed) installation(ctx context.Context, n, concurrency int, path func(i int) string, change ...func(*configv1.Endpoint)) (f *fleet.Fleet, revision int64, err error) {
	if f, err = b.Installation(ctx); err != nil {
		return nil, 0, err
	}
	policy := &configv1.OutboundPolicy{Ports: b.receiver.Ports, Networks: []string{"127.0.0.0/8"}}
	if _, err = f.Configure(ctx, &configv1.Tenant{Name: "tenants/acme", Outbound: policy}); err != nil {
		return nil, 0, errors.Join(err, f.Close(ctx))
	}
	var batch []proto.Message
	for i := range n {
		url := path(i)
		if strings.HasPrefix(url, "/") {
			url = b.receiver.URL + url
		}
		e := &configv1.Endpoint{
			Name: endpoint(i), Url: url, Secrets: []string{b.receiver.Secret}, CaCertificates: b.receiver.Authority,
			Status: configv1.EndpointStatus_ENDPOINT_STATUS_ACTIVE, Concurrency: int32(concurrency),
		}
		for _, f := range change {
			f(e)
		}
		if batch = append(batch, e); len(batch) < 1000 && i < n-1 {
			continue
		}
		if revision, err = f.Configure(ctx, batch...); err != nil {
			return nil, 0, errors.Join(err, bench.Close(ctx, f))
		}
		if batch = batch[:0]; n > 1000 {
			fleet.Report("%d of %d endpoints are configured", i+1, n)
		}
	}
	return f, revision, nil
}

func endpoint(i int) string { return fmt.Sprintf("tenants/acme/endpoints/e%d", i) }

// planner makes deliveries in order of their keys.
type planner struct {
	fleet    *fleet.Fleet
	revision int64
	n        int
	keys     map[string]*delivery.Delivery
	// small: the bodies are small, where only their number counts.
	small bool
}

func newPlanner(f *fleet.Fleet, revision int64) *planner {
	return &planner{fleet: f, revision: revision, keys: map[string]*delivery.Delivery{}}
}

// padding makes a body one of some 600 bytes.
var padding = strings.Repeat("0", 560)

// subjects is how many ordering keys an endpoint has.
const subjects = 500

// next is a delivery to an endpoint.
func (p *planner) next(i int) (stream.Record, error) {
	p.n++
	now := time.Now()
	d := &delivery.Delivery{
		Tenant: "acme", Notification: "each", NotificationVersion: 1, Action: "notify", Endpoint: endpoint(i), Ordered: true, Sequence: 1,
		Event: delivery.EventReference{
			Source: "bench", ID: strconv.Itoa(p.n), Type: "usage.charged", Subject: fmt.Sprintf("4479%08d", p.n%subjects), Time: now, Topic: "events.ordered",
		},
		ContentType: "application/cloudevents+json", Body: p.body(now),
		PlannedAt: now, Revision: p.revision,
	}
	d.ID = delivery.NewID(now, d.Tenant, d.Event.Source, d.Event.Subject, d.Event.ID, d.Notification, d.Action, "", d.Endpoint)
	key := d.Endpoint + d.Event.Subject
	if before := p.keys[key]; before != nil {
		d.Sequence, d.Previous = before.Sequence+1, before.ID
	}
	p.keys[key] = &delivery.Delivery{ID: d.ID, Sequence: d.Sequence}
	return d.Record(p.fleet.Client.Topic("deliveries.webhook"))
}

func (p *planner) body(now time.Time) []byte {
	if p.small {
		return []byte("{}")
	}
	return fmt.Appendf(nil, `{"t":"%019d","padding":"%010d%s"}`, now.UnixNano(), p.n, padding)
}

// plan puts n deliveries on the topic, for endpoints in turn; planFor puts them there for one endpoint.
func (p *planner) plan(ctx context.Context, n, endpoints int) error {
	return bench.Plan(ctx, p.fleet.Client, n, func(i int) (stream.Record, error) { return p.next(i % endpoints) })
}

// The latter copies one record, with another id and subject each: it is for many that only wait.
func (p *planner) planFor(ctx context.Context, n, endpoint int) error {
	r, err := p.next(endpoint)
	if err != nil {
		return err
	}
	id, subject := bytes.Index(r.Value, []byte("dlv_")), bytes.Index(r.Value, []byte("4479"))
	if id < 0 || subject < 0 {
		return errors.New("a delivery without id and subject can't be copied")
	}
	return bench.Plan(ctx, p.fleet.Client, n, func(i int) (stream.Record, error) {
		one := r
		one.Value = bytes.Clone(r.Value)
		// The first ten characters of an id hold its time, the last not all of its bits.
		copy(one.Value[id+len("dlv_")+10:], fmt.Appendf(nil, "%015d", i))
		copy(one.Value[subject+len("4479"):], fmt.Appendf(nil, "%08d", i%subjects))
		return one, nil
	})
}

// service measures the webhook service over a number of endpoints.
func (b *bed) service(ctx context.Context, endpoints, concurrency int, length time.Duration) (out bench.Measured, f *fleet.Fleet, err error) {
	f, revision, err := b.installation(ctx, endpoints, concurrency, func(i int) string { return fmt.Sprint("/e/e", i) })
	if err != nil {
		return out, nil, err
	}
	total := b.planned(length)
	began := time.Now()
	if err := newPlanner(f, revision).plan(ctx, total, endpoints); err != nil {
		return out, f, err
	}
	fleet.Report("%d deliveries to %d endpoints are planned after %.1f s", total, endpoints, time.Since(began).Seconds())
	m, err := f.Start(ctx, "webhook")
	if err != nil {
		return out, f, err
	}
	out, err = b.watch(ctx, length, total, m.Processor)
	if err != nil {
		return out, f, err
	}
	return out, f, m.Stop(ctx)
}

// planned is how many deliveries a run has.
func (b *bed) planned(length time.Duration) int {
	return int(float64(b.most) * (b.warmUp + length).Seconds())
}

// watch measures a sender from its start on.
func (b *bed) watch(ctx context.Context, length time.Duration, total int, processor func() (time.Duration, error)) (bench.Measured, error) {
	before, err := b.receiver.count()
	if err != nil {
		return bench.Measured{}, err
	}
	return bench.Run{Count: b.receiver.count, WarmUp: b.warmUp, Length: length, Total: total, Processor: processor}.Watch(ctx, before)
}

// throughput measures the service and then, on the same log, the bare loop.
func (b *bed) throughput(ctx context.Context) error {
	var rates, ratios, times []float64
	var runs []string
	for i := range b.runs {
		ours, f, err := b.service(ctx, b.endpoints, max(1, b.connections/b.endpoints), b.length)
		if err != nil {
			return errors.Join(err, bench.Close(ctx, f))
		}
		bare, err := b.bare(ctx, f)
		if err := errors.Join(err, bench.Close(ctx, f)); err != nil {
			return err
		}
		rates, ratios = append(rates, ours.PerSecond), append(ratios, ours.PerSecond/bare.PerSecond)
		times = append(times, ours.Processor.Seconds()*1e6)
		runs = append(runs, fmt.Sprintf("%.0f/s, %s of processor time each; bare %.0f/s, %s each", ours.PerSecond, ours.Processor, bare.PerSecond, bare.Processor))
		fleet.Report("run %d: %s", i+1, runs[i])
	}
	note := fmt.Sprintf("%d endpoints, %d connections in all, %d ordering keys each, 600 bytes of body over TLS; one process of the service; the bare loop fetches, signs, posts, produces an attempt of %d bytes and writes to Redis once a group, without order or limits; the receiver is a process of its own on the same machine",
		b.endpoints, b.connections, subjects, attemptBytes)
	for _, f := range []figure.Figure{
		{Name: "webhook.deliveries_per_second", Value: figure.Round(figure.Median(rates)), Unit: "deliveries/s", Goal: 12_000, Better: "higher"},
		{Name: "webhook.floor_ratio", Value: figure.Round(figure.Median(ratios)), Unit: "ratio", Goal: 0.8, Better: "higher"},
		{Name: "webhook.processor_us", Value: figure.Round(figure.Median(times)), Unit: "us/delivery", Better: "lower"},
	} {
		f.Note, f.Seconds, f.Runs = note, float64(b.runs)*b.length.Seconds(), runs
		if err := b.Print(f); err != nil {
			return err
		}
	}
	return nil
}

func (b *bed) bare(ctx context.Context, f *fleet.Fleet) (bench.Measured, error) {
	client, err := trusting(b.receiver.Authority, b.connections)
	if err != nil {
		return bench.Measured{}, err
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(b.receiver.Secret, "whsec_"))
	if err != nil {
		return bench.Measured{}, err
	}
	store := redis.NewClient(&redis.Options{Addr: b.Redis.Address()})
	defer store.Close() //nolint:errcheck // each write was answered
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	j := &bareJob{fleet: f, redis: store, client: client, url: b.receiver.URL, secret: webhook.Secret(secret), workers: b.connections}
	ended := make(chan error, 1)
	go func() { ended <- j.run(running, b.Partitions) }()
	out, err := b.watch(ctx, b.length, b.planned(b.length), bench.Own)
	cancel()
	return out, errors.Join(err, <-ended)
}

// growth measures with more and more endpoints.
func (b *bed) growth(ctx context.Context) error {
	var faults []error
	for _, n := range []int{1, 10, 1_000, 10_000} {
		out, f, err := b.service(ctx, n, 64, b.length/2)
		if err := errors.Join(err, bench.Close(ctx, f)); err != nil {
			faults = append(faults, fmt.Errorf("%d endpoints: %w", n, err))
			continue
		}
		faults = append(faults, b.Print(figure.Figure{
			Name: fmt.Sprintf("webhook.deliveries_per_second_%d_endpoints", n), Value: figure.Round(out.PerSecond), Unit: "deliveries/s", Better: "higher",
			Note:    fmt.Sprintf("no goal; 64 connections an endpoint at most; %s of processor time each", out.Processor),
			Seconds: (b.length / 2).Seconds(),
		}))
	}
	return errors.Join(faults...)
}
