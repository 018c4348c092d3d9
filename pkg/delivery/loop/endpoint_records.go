package loop

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery/internal/health"
	"github.com/tollgate/tollgate/pkg/delivery/internal/queue"
	"github.com/tollgate/tollgate/pkg/delivery/internal/scan"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// The records of endpoints that have something to keep stand beside the pages, numbered like them.

const recordPrefix = "e/"

func recordKey(n int32) string { return recordPrefix + strconv.Itoa(int(n)) }

// cutRecords adds the records that changed to a commit, maxRecords at most, and returns their endpoints.
func (o *owner) cutRecords(changes *state.Commit, now int64) []*queue.Endpoint {
	o.touchBehind(now)
	n := min(len(o.dirty), maxRecords)
	cut := o.dirty[:n:n]
	o.dirty = o.dirty[n:]
	var freed []int32 // not used again in this commit, which would both put and delete
	for _, e := range cut {
		e.Dirty, e.Moved, e.Urgent, e.UrgentCut = false, false, false, e.Urgent
		if e.Health.Empty(now, e.Waiting > 0) {
			if e.Record != queue.NoRecord {
				changes.Deletes = append(changes.Deletes, recordKey(e.Record))
				freed = append(freed, e.Record)
				e.Record = queue.NoRecord
			}
			continue
		}
		if e.Record == queue.NoRecord {
			e.Record = o.places.Take()
		}
		changes.Puts = append(changes.Puts, o.entryOf(e))
		if e.Health.Contained.Ahead > 0 { // fewer of them once they are published
			o.touch(e, false)
		}
	}
	o.places.Free = append(o.places.Free, freed...)
	return cut
}

// entryOf is the record of an endpoint, which contains all results until now.
func (o *owner) entryOf(e *queue.Endpoint) state.Entry {
	e.Health.Contained = health.Contained{Writer: writerOf(o.token), Ahead: e.Unpublished}
	return state.Entry{Key: recordKey(e.Record), Value: e.Health.Encode(o.drift)}
}

// writerOf is an owner as a record names it.
func writerOf(token []byte) uint32 { return uint32(xxhash.Sum64(token)) }

// setEnds completes the records of a commit whose attempts are published up to an offset.
func setEnds(entries []state.Entry, end int64) {
	for _, e := range entries {
		if strings.HasPrefix(e.Key, recordPrefix) {
			health.SetEnd(e.Value, end)
		}
	}
}

// loadRecords reads the records of endpoints.
func (o *owner) loadRecords(ctx context.Context, n int32) error {
	o.places.Number = n
	shift := o.now() - o.wall()
	for from := int32(0); from < n; from += openPages {
		keys := make([]string, 0, openPages)
		for place := from; place < min(n, from+openPages); place++ {
			keys = append(keys, recordKey(place))
		}
		var values [][]byte
		err := o.within(ctx, func(ctx context.Context) (err error) {
			values, err = o.Store.Load(ctx, o.part, o.mark, keys)
			return err
		})
		if errors.Is(err, state.ErrFenced) {
			return fmt.Errorf("%w: %w", stream.ErrRejoin, err)
		}
		if err != nil {
			return err
		}
		for i, value := range values {
			place := from + int32(i)
			if value == nil {
				o.places.Free = append(o.places.Free, place)
				continue
			}
			if err := o.loadRecord(value, place, shift); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *owner) loadRecord(value []byte, place int32, shift int64) error {
	h, err := health.Decode(value, shift)
	if err != nil {
		return err
	}
	e := o.queue.Endpoint(queue.EndpointHash(h.Name))
	if e.Record != queue.NoRecord {
		return fmt.Errorf("endpoint %s has two records", h.Name)
	}
	e.Health, e.Record = h, place
	if tenant := tenantOf(h.Name, e); tenant != "" { // it may be in no configuration that is known
		o.queue.Identify(e, h.Name, tenant)
	}
	// A time that was kept while the clock was wrong holds no longer than it can be.
	limit := o.now() + maxHold.Milliseconds()
	e.Health.HoldUntil, e.Health.NextProbe = min(h.HoldUntil, limit), min(h.NextProbe, limit)
	e.SucceededAt.Store(h.LastSuccess)
	return nil
}

// recall applies an attempt that was found in the log to its endpoint, where the record does not contain it. Its events
// were published before it.
func (o *owner) recall(t *scan.AttemptSummary, offset int64) {
	if t.Number == 0 || t.Ended == 0 || t.Fault == deliveryv1.Fault_FAULT_OURS {
		return
	}
	shift := o.now() - o.wall()
	e := o.queue.Endpoint(queue.EndpointHash(t.Endpoint))
	h := &e.Health
	at := t.Ended + shift
	if h.Contained.Has(offset, writerOf(t.Owner[:])) {
		return
	}
	h.Name = t.Endpoint
	if t.Activation > h.Activation {
		if h.Activation > 0 {
			h.Activate(t.Activation, at)
		}
		h.Activation = t.Activation
	}
	kind := health.Failure
	switch {
	case t.Settlement == deliveryv1.Settlement_SETTLEMENT_DELIVERED:
		kind = health.Success
	case t.Fault == deliveryv1.Fault_FAULT_RECIPIENT:
		kind = health.Reached
	case t.Fault == deliveryv1.Fault_FAULT_GONE:
		kind = health.Gone
	case t.Fault == deliveryv1.Fault_FAULT_SLOW:
		kind = health.Slow
	case t.Fault == deliveryv1.Fault_FAULT_THROTTLED:
		kind = health.Throttled
	}
	r := health.Result{Kind: kind, At: at, Activation: t.Activation, Probe: h.Open && at >= h.NextProbe, Delivery: t.Delivery, Status: t.Status, Error: health.Short(t.Err)}
	if t.RetryAfter > 0 {
		r.Hold = min(time.Duration(t.RetryAfter-t.Ended)*time.Millisecond, maxHold)
	}
	h.Apply(r)
	if kind == health.Success {
		e.SucceededAt.Store(at)
	}
	o.touch(e, false)
}
