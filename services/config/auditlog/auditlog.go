// Package auditlog publishes each change of the configuration to the topic audit, out of the history in the database: at
// least once, always under the same id, in the order of revisions. A change never waits for it.
package auditlog

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/audit"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
	auditv1 "github.com/tollgate/tollgate/proto/gen/tollgate/audit/v1"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
)

const (
	// batchChanges and batchBytes bound what is read and produced at once.
	batchChanges = 200
	batchBytes   = 8 << 20
	// produceTimeout bounds one attempt; heldFor is how long a replica that died keeps the others from writing.
	produceTimeout = 10 * time.Second
	heldFor        = 20 * time.Second
	// lookAgain is after an attempt that failed, and between two looks without a change.
	lookAgain = time.Second
	// delayed is how long nothing was written, with something to write, until health reports it.
	delayed = 10 * time.Second
	// releaseTimeout bounds the last write.
	releaseTimeout = time.Second
)

// Log is the topic audit as one replica writes it. One replica writes at a time; where clocks differ two may, and then records
// are on the topic twice, under one id.
type Log struct {
	// Store has the history, and how far it was published.
	Store *store.Store
	// Show is a change with what became of each field.
	Show func(ctx context.Context, c store.Change) (*configv1.Change, error)
	// Produce is that of a stream.Producer.
	Produce func(ctx context.Context, records ...stream.Record) ([]stream.ProduceResult, error)
	// Topic is its full name.
	Topic string
	Log   *zap.Logger
	Clock func() time.Time

	holder string
	// heldUntil is when this replica's turn ends; zero where it has none.
	heldUntil time.Time

	mu sync.Mutex
	// oldest is when the oldest change was made that is not published; zero where all are. since is how long none of them
	// was, and failure why.
	oldest, since time.Time
	failure       error
}

// Register registers its metric.
func (l *Log) Register(metrics prometheus.Registerer) error {
	return metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "tollgate", Subsystem: "config", Name: "audit_lag_seconds",
		Help: "How old the oldest change is that is not on the topic audit yet; 0 where all are.",
	}, func() float64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.oldest.IsZero() {
			return 0
		}
		return max(l.Clock().Sub(l.oldest).Seconds(), 0)
	}))
}

// Notes is the incident that changes wait, for health.
func (l *Log) Notes() []*daemon.Incident {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.oldest.IsZero() || l.Clock().Sub(l.since) < delayed {
		return nil
	}
	detail := "another replica writes it, or should"
	if l.failure != nil {
		detail = l.failure.Error()
	}
	return []*daemon.Incident{{Code: "AUDIT_DELAYED", Topic: l.Topic, Detail: fmt.Sprintf("changes since %s: %s", l.oldest.UTC().Format(time.RFC3339), detail)}}
}

// Run publishes until ctx ends. changed is closed by the next change.
func (l *Log) Run(ctx context.Context, changed func() <-chan struct{}) {
	l.holder = rand.Text()[:16]
	defer l.release(context.WithoutCancel(ctx))
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := changed()
		more, err := l.some(ctx)
		if ctx.Err() != nil {
			return
		}
		l.note(ctx, err)
		if more {
			continue
		}
		timer.Reset(lookAgain)
		select {
		case <-next:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// note remembers how an attempt ended, and leaves the others a turn after a failure.
func (l *Log) note(ctx context.Context, err error) {
	l.mu.Lock()
	first := err != nil && l.failure == nil
	l.failure = err
	l.mu.Unlock()
	if err != nil {
		l.release(ctx)
	}
	if first {
		l.Log.Warn("changes not written to the topic audit, trying again", zap.Error(err))
	}
}

func (l *Log) release(ctx context.Context) {
	if l.heldUntil.IsZero() {
		return
	}
	l.heldUntil = time.Time{}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	if err := l.Store.ReleaseAudit(ctx, l.holder); err != nil {
		l.Log.Warn("turn to write the topic audit not ended, others wait for it", zap.Error(err))
	}
}

// waiting notes the oldest change that is not published.
func (l *Log) waiting(changes []store.Change, progress bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(changes) == 0 {
		l.oldest = time.Time{}
		return
	}
	if progress || l.oldest.IsZero() || changes[0].At.After(l.oldest) {
		l.since = l.Clock()
	}
	l.oldest = changes[0].At
}

// some publishes what comes next; more where something was published. The position moves behind what Kafka has
// acknowledged: a process that dies before publishes the same again.
func (l *Log) some(ctx context.Context) (more bool, err error) {
	from, err := l.Store.Audited(ctx)
	if err != nil {
		return false, err
	}
	changes, err := l.Store.ChangesAfter(ctx, from, batchChanges)
	if err != nil {
		return false, err
	}
	if l.waiting(changes, false); len(changes) == 0 {
		return false, nil
	}
	if now := l.Clock(); l.heldUntil.Sub(now) < heldFor/2 {
		until := now.Add(heldFor)
		ok, err := l.Store.HoldAudit(ctx, l.holder, now, until)
		if !ok || err != nil {
			return false, err
		}
		// Who had the turn before may have written what was read above.
		l.heldUntil = until
		return true, nil
	}
	records, err := l.records(ctx, changes)
	if err != nil {
		return false, err
	}
	done, failure := l.produce(ctx, records)
	if done == 0 {
		return false, failure
	}
	until := l.Clock().Add(heldFor)
	ok, err := l.Store.MoveAudit(ctx, l.holder, from, changes[done-1], until)
	if err != nil {
		return false, errors.Join(failure, err)
	}
	if !ok { // another replica's turn has begun, or the database was set back
		l.release(ctx)
		return false, failure
	}
	l.heldUntil = until
	l.waiting(changes[done:], true)
	return failure == nil, failure
}

// produce returns how many records from the first on are acknowledged.
func (l *Log) produce(ctx context.Context, records []stream.Record) (done int, err error) {
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	results, err := l.Produce(ctx, records...)
	for done < len(results) && results[done].Err == nil {
		done++
	}
	return done, err
}

// records are those of the first changes, as many as are produced at once.
func (l *Log) records(ctx context.Context, changes []store.Change) (all []stream.Record, err error) {
	size := 0
	for _, c := range changes {
		made, err := l.record(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("show revision %d: %w", c.Revision, err)
		}
		r, err := audit.Record(l.Topic, "config", l.Clock(), made)
		if err != nil {
			return nil, err
		}
		if size += len(r.Value); len(all) > 0 && size > batchBytes {
			break
		}
		all = append(all, r)
	}
	return all, nil
}

func (l *Log) record(ctx context.Context, c store.Change) (*auditv1.AuditRecord, error) {
	shown, err := l.Show(ctx, c)
	if err != nil {
		return nil, err
	}
	r := &auditv1.AuditRecord{
		Id: ID(c), Time: timestamppb.New(c.At), Tenant: tenantOf(c.Name), Caller: c.Caller, Method: methodOf(shown),
		What: &auditv1.AuditRecord_Change{Change: shown},
	}
	if shown.GetKind() == history {
		accepted, err := l.Store.Accepted(ctx, c.Revision)
		if err != nil {
			return nil, err
		}
		r.Tenant, r.Who, r.Why, r.Lost = "", cmp.Or(accepted.Who, c.Name), accepted.Why, accepted.Lost
	}
	return r, nil
}

// ID is that of the record of a change.
func ID(c store.Change) string { return fmt.Sprintf("%016x-%d", c.History, c.Revision) }

// history is the kind of what is done to the history itself.
const history = "History"

// methodOf is what a change was made by.
func methodOf(c *configv1.Change) string {
	switch service := "tollgate.config.v1."; {
	case c.GetKind() == history && c.GetAction() == "restore":
		return "tollgate config restore"
	case c.GetKind() == history:
		return service + "HistoryService/AcceptRestore"
	case c.GetKind() == "Secrets":
		return "tollgate keys rotate"
	case c.GetAction() == "restore":
		return service + "ChangeService/RestoreResource"
	case c.GetAction() == "reorder":
		return service + c.GetKind() + "Service/Reorder"
	default:
		first := min(1, len(c.GetAction()))
		return service + c.GetKind() + "Service/" + strings.ToUpper(c.GetAction()[:first]) + c.GetAction()[first:] + c.GetKind()
	}
}

// tenantOf is the id of the tenant that a name is of; empty where it is of none.
func tenantOf(name string) string {
	rest, of := strings.CutPrefix(name, "tenants/")
	if !of {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}
