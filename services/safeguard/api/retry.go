package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
)

const (
	// firstPause and lastPause are the waits between the tries of a command whose partition is moving.
	firstPause = 20 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// stoppingPatience is how long a command is tried on once this process is to end: another replica may take over.
	stoppingPatience = 3 * time.Second
)

// applied is what is known of a command that has no answer.
type applied uint8

const (
	// final: the error is the answer; another try would not give another.
	final applied = iota
	// notApplied: it does not stand in the log; the next owner may be asked.
	notApplied
	// unknown: it may stand in the log; the next owner may be asked, and knows.
	unknown
)

// appliedHere reads an error of this replica.
func appliedHere(err error) applied {
	if _, elsewhere := errors.AsType[*fold.NotOwnerError](err); elsewhere || errors.Is(err, fold.ErrUnknown) {
		return notApplied
	}
	if errors.Is(err, fold.ErrMoved) {
		return unknown
	}
	return final
}

// appliedThere reads an error of a peer.
func appliedThere(sent bool, err error) applied {
	if !sent {
		return notApplied
	}
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		if code := status.Code(err); code == codes.Canceled || code == codes.DeadlineExceeded {
			return unknown
		}
		return final
	}
	switch {
	case e.Kind == fault.Unauthenticated, e.Kind == fault.Denied:
		return notApplied // it does not know our caller, whom this replica knows: its keys are being changed
	case e.Kind != fault.Unavailable:
		return final
	case e.Reason == reasonMoved, e.Reason == ReasonRebuilding:
		return notApplied
	case e.Reason == ReasonOutcome && e.Metadata[movedBehind] == "":
		return final
	}
	return unknown // the connection broke, or the partition was lost behind the append
}

// movedBehind is the metadata on OUTCOME_UNKNOWN of a peer that lost the partition behind the append: the next owner may be
// asked at once.
const movedBehind = "moved"

// passedOn is an error for the peer that sent the command.
func passedOn(b applied, err error) error {
	switch b {
	case notApplied:
		return movedAway(err)
	case unknown:
		return errors.Join(fault.New(fault.Unavailable, ReasonOutcome, "the partition was lost behind the append").With(movedBehind, "true"), err)
	}
	return err
}

// trying is a command that has no answer yet.
type trying struct {
	local *subscribers
	key   string
	// appended: a try may stand in the log.
	appended bool
	wait     time.Duration
	// until bounds further tries once the process is stopping.
	until <-chan time.Time
}

// again waits for the next try. Its error is the answer where there will be none.
func (t *trying) again(ctx context.Context, b applied, err error) error {
	t.appended = t.appended || b == unknown
	switch {
	case b == final && t.appended && (!isFinal(err) || fault.KindOf(err) == fault.Throttled):
		return t.end(err) // this try came to nothing, but not the one before
	case b == final:
		return err
	case !t.appended && t.wait > 0 && t.rebuilds(ctx):
		return t.end(err)
	}
	t.wait = min(max(2*t.wait, firstPause), lastPause)
	next := time.NewTimer(t.wait)
	defer next.Stop()
	for {
		stopping := t.local.stopping
		if t.until != nil {
			stopping = nil
		}
		select {
		case <-next.C:
			return nil
		case <-ctx.Done():
			return t.end(errors.Join(ctx.Err(), err))
		case <-t.until:
			return t.end(err)
		case <-stopping:
			t.until = time.After(stoppingPatience)
		}
	}
}

// rebuilds is whether a partition is rebuilt, which may take long, and does not only move: then it can be read from the
// store meanwhile.
func (t *trying) rebuilds(ctx context.Context) bool {
	patient, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	_, err := t.local.records.ReadStored(patient, t.key)
	return errors.Is(err, fold.ErrUnknown)
}

// end is the answer where there will be none from an owner.
func (t *trying) end(err error) error {
	if !t.appended {
		return rebuilding("the subscriber's partition is moving between replicas or being rebuilt, and nothing happened", err)
	}
	return errors.Join(fault.New(fault.Unavailable, ReasonOutcome,
		"the subscriber's partition moved meanwhile, and it may be counted or not: send the same request again, under the same reference, to learn that").After(retryAfter), err)
}
