package audit

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
)

const (
	// lookEvery is how often minutes that are over are looked for.
	lookEvery = 2 * time.Second
	// publishTimeout bounds one attempt, and lastTimeout the one at the end of the process.
	publishTimeout = 10 * time.Second
	lastTimeout    = 3 * time.Second
)

// refusals publishes what a process refuses.
type refusals struct {
	of *rpc.Refusals
	// service and process name the process: what its records have the same id by.
	service, process string
	topic            string
	producer         *stream.Producer
	env              daemon.Env
	failing          bool
}

// PublishRefusals publishes what is refused, minute by minute, until stop, which publishes the rest: it is called when no call
// is under way any more. Calls never wait for it. What Kafka does not take is kept, within the bound of rpc.Refusals.
func PublishRefusals(ctx context.Context, c *stream.Client, of *rpc.Refusals, env daemon.Env) (stop func() error) {
	p := &refusals{
		of: of, service: env.Name, process: rand.Text()[:8], topic: c.Topic(stream.Audit), producer: c.NewProducer(), env: env,
	}
	after := context.WithoutCancel(ctx)
	running, cancel := context.WithCancel(after)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(running)
	}()
	return func() error {
		cancel()
		<-done
		return p.finish(after)
	}
}

func (p *refusals) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		trying, cancel := context.WithTimeout(ctx, publishTimeout)
		all := p.of.Take(p.env.Clock())
		p.of.Return(p.publish(trying, all))
		cancel()
	}
}

// finish publishes the rest, and counts what Kafka does not take.
func (p *refusals) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastTimeout)
	defer cancel()
	left := p.publish(ctx, p.of.Take(time.Time{}))
	p.of.Drop(left)
	err := p.producer.Close(ctx)
	if len(left) > 0 {
		p.env.Log.Warn("refusals not published at the end", zap.Int("records", len(left)))
		return nil // of what is left, and counted
	}
	return err
}

// publish returns what may not have been published.
func (p *refusals) publish(ctx context.Context, all []*rpc.Refusal) (left []*rpc.Refusal) {
	if len(all) == 0 {
		return nil
	}
	slices.SortFunc(all, func(a, b *rpc.Refusal) int {
		return cmp.Or(a.Minute.Compare(b.Minute), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Caller, b.Caller), cmp.Compare(a.From, b.From))
	})
	records := make([]stream.Record, 0, len(all))
	for _, one := range all {
		r, err := Record(p.topic, p.service, p.env.Clock(), p.record(one))
		if err != nil { // of no message that is made here
			p.env.Log.Error("refusals not encoded", zap.Error(err))
		}
		records = append(records, r)
	}
	results, err := p.producer.ProduceResults(ctx, records...)
	if first := err != nil && !p.failing && !errors.Is(ctx.Err(), context.Canceled); first {
		p.env.Log.Warn("refusals not published, trying again", zap.Int("records", len(records)), zap.Error(err))
	}
	p.failing = err != nil
	for i := range results {
		if results[i].Err != nil {
			left = append(left, all[i])
		}
	}
	return left
}

func (p *refusals) record(one *rpc.Refusal) *auditv1.AuditRecord {
	caller := cmp.Or(one.Caller, one.From)
	if one.Others {
		caller = "*"
	}
	h := sha256.New()
	for _, part := range []string{p.service, p.process, caller, one.Method, strconv.FormatInt(one.Minute.Unix(), 10)} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":" + part))
	}
	return &auditv1.AuditRecord{
		Id: hex.EncodeToString(h.Sum(nil)[:16]), Time: timestamppb.New(one.Minute), Tenant: one.Tenant, Caller: one.Caller, Method: Method(one.Method),
		What: &auditv1.AuditRecord_Refusals{Refusals: &auditv1.Refusals{
			Count: one.Count, Reasons: one.Reasons, Address: one.Address, Service: p.service, Process: p.process, Others: one.Others,
		}},
	}
}
