package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

const (
	// reapplyRate is how many subscribers a second where the request sets none, reapplyMost the most that it may set.
	reapplyRate = 1000
	reapplyMost = 100_000
	// reapplying bounds the commands that wait for their commit.
	reapplying = 200
)

// Reapply adds a command to the log for each subscriber of a class in one partition, so that it takes over what the class
// offers by now. The replica that has the partition does it. Those who have taken it over by themselves are passed over, so one
// that broke off is begun again at no cost.
func (v *audit) Reapply(req *optionsv1.ReapplyRequest, out grpc.ServerStreamingServer[optionsv1.ReapplyResponse]) error {
	var f fault.Violations
	tenant, class := classIn(&f, "name", req.GetName(), "")
	v.partitionIn(&f, req.GetPartition())
	if n := req.GetRate(); n < 0 || n > reapplyMost {
		f.AddAs(account.ReasonRequest, "rate", "must be from 0 to %d, is %d", reapplyMost, n)
	}
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return err
	}
	c, err := v.catalogs.newest()
	if err != nil {
		return rebuilding("the configuration is not known yet", err)
	}
	if c.Class(tenant, class) == nil {
		return fault.New(fault.NotFound, ReasonClassAbsent, "tenant %s has no class of service %s", tenant, class)
	}
	err = v.engine.Here(out.Context(), req.GetPartition())
	if away, ok := errors.AsType[*fold.NotOwnerError](err); ok {
		return &elsewhere{owner: away}
	}
	if err != nil {
		return unreadable(err)
	}
	if err := v.reaches(out.Context(), req.GetPartition(), c.Revision); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	r := reapplication{audit: v, tenant: tenant, class: class, partition: req.GetPartition(), slots: make(chan struct{}, reapplying), fail: cancel}
	pace := time.NewTicker(time.Second / time.Duration(max(req.GetRate(), 1)))
	if req.GetRate() == 0 {
		pace.Reset(time.Second / reapplyRate)
	}
	defer pace.Stop()
	for cursor, more := "", true; more; more = cursor != "" {
		if cursor, err = r.step(ctx, cursor, pace.C); err == nil {
			err = out.Send(&optionsv1.ReapplyResponse{Seen: r.seen, Appended: r.appended})
		}
		if err != nil {
			break
		}
	}
	r.waiting.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	return out.Send(&optionsv1.ReapplyResponse{Seen: r.seen, Appended: r.appended, Done: true})
}

// reaches waits until a revision is in force in a partition: one that was made a moment ago is on its way.
func (v *audit) reaches(ctx context.Context, partition int32, revision int64) error {
	for {
		w, _, err := v.engine.Stored(ctx, partition)
		if err != nil {
			return unreadable(err)
		}
		if w.Revision.Number >= revision {
			return nil
		}
		select {
		case <-time.After(lastPause):
		case <-v.stopping:
			return rpc.ErrStopping()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reapplication is one on its way through a partition.
type reapplication struct {
	*audit
	tenant, class string
	partition     int32

	seen, appended int64
	slots          chan struct{}
	waiting        sync.WaitGroup
	fail           context.CancelCauseFunc
}

// step goes through some subscribers, at the pace.
func (r *reapplication) step(ctx context.Context, cursor string, pace <-chan time.Time) (next string, err error) {
	keys, next, err := r.engine.Subjects(ctx, r.partition, cursor, compared)
	if err != nil {
		return "", unreadable(err)
	}
	for len(keys) > 0 {
		some := keys[:min(len(keys), compared)]
		keys = keys[len(some):]
		w, stored, err := r.engine.Stored(ctx, r.partition, some...)
		if err != nil {
			return "", unreadable(err)
		}
		for i, key := range some {
			concerned, err := r.concerns(key, stored[i].Record, w.Revision.Number)
			if err != nil {
				return "", err
			}
			if !concerned {
				continue
			}
			select {
			case <-pace:
			case <-r.stopping:
				return "", rpc.ErrStopping()
			case <-ctx.Done():
				return "", ctx.Err()
			}
			r.command(ctx, key, w.Revision.Number)
		}
	}
	return next, nil
}

// concerns is whether a subscriber is of the class and was last decided on under an older revision than the one in force.
func (r *reapplication) concerns(key string, record []byte, revision int64) (bool, error) {
	if record == nil || account.TenantOf(key) != r.tenant {
		return false, nil
	}
	body, err := fold.BodyOf(record)
	if err != nil {
		return false, fmt.Errorf("reapply: %w", err)
	}
	sub, err := account.Decode(body)
	if err != nil {
		return false, fmt.Errorf("reapply: %w", err)
	}
	if !sub.Alive() || sub.Class != r.class {
		return false, nil
	}
	r.seen++
	return sub.Revision < revision, nil
}

// command adds one to the log, and lets it be answered beside the others.
func (r *reapplication) command(ctx context.Context, key string, revision int64) {
	r.slots <- struct{}{}
	r.appended++
	r.waiting.Go(func() {
		defer func() { <-r.slots }()
		bounded, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		tenant, msisdn, _ := strings.Cut(key, "/")
		at := subject{tenant, msisdn}
		e := at.command(account.TypeReapply, account.ReapplySource, fmt.Sprintf("%s/%d/%s", r.class, revision, msisdn), &controlv1.ReapplyCommand{ClassOfService: r.class})
		for {
			_, err := r.records.Call(bounded, e)
			switch fault.KindOf(err) {
			case fault.Throttled, fault.Conflict: // others wait as well: theirs come first; or it is on its way to another number
				select {
				case <-time.After(lastPause):
					continue
				case <-bounded.Done():
				}
			case fault.NotFound, fault.Precondition: // it is gone, or of another class, by now
				return
			}
			if err != nil {
				r.fail(passedOn(appliedHere(err), err))
			}
			return
		}
	})
}
