package api

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

const (
	// firstPause and lastPause are the waits between the tries of a call whose partition is moving.
	firstPause = 20 * time.Millisecond
	lastPause  = 250 * time.Millisecond
	// stoppingPatience is how long a call goes on trying once this process is to end: another replica may take over.
	stoppingPatience = 3 * time.Second
)

// call makes a call where the subscriber's partition is: here, or through one hop. While the partition moves it is tried
// again under the same id, at whoever has it then, until ctx ends. The id makes that safe: what was accepted once is
// accepted again and changes nothing.
//
// named writes into the answer whose it is.
func call[Res any, P message[Res]](ctx context.Context, s *subscribers, method string, at place, req proto.Message, e *event.Event, named func(P)) (*Res, error) {
	t := trying{subscribers: s, key: e.Key()}
	forwarded := isForwarded(ctx)
	for {
		a, err := s.records.Call(ctx, e)
		if told, ok := told(a, err).(P); ok {
			res := proto.CloneOf(told) // others may be told it as well
			named(res)
			return (*Res)(res), nil
		}
		became := becameHere(err)
		switch owner, ok := errors.AsType[*fold.NotOwnerError](err); {
		case forwarded: // whoever sent it tries again
			return nil, passedOn(became, err)
		case ok:
			res := P(new(Res))
			sent, askErr := s.peers.ask(ctx, owner.Address, method, req, res)
			if askErr == nil {
				return (*Res)(res), nil
			}
			became, err = becameThere(sent, askErr), errors.Join(askErr, err)
		}
		if err := t.again(ctx, became, err); err != nil {
			return nil, err
		}
	}
}

// told is what the fold says to a call that was judged; nil where there is no such answer.
func told(a fold.Answer, err error) any {
	if refused, ok := errors.AsType[*account.RefusedCharge](err); ok {
		return refused.Answer
	}
	if err != nil {
		return nil
	}
	return a.Value
}

// became is what a try without an answer has come to.
type became uint8

const (
	// settled: the error is the answer; trying again would not give another.
	settled became = iota
	// nothing was appended; the next owner may be asked.
	nothing
	// perhaps it was appended; the next owner may be asked, and tells.
	perhaps
)

func becameHere(err error) became {
	if _, elsewhere := errors.AsType[*fold.NotOwnerError](err); elsewhere || errors.Is(err, fold.ErrUnknown) {
		return nothing
	}
	if errors.Is(err, fold.ErrMoved) {
		return perhaps
	}
	return settled
}

func becameThere(sent bool, err error) became {
	if !sent {
		return nothing
	}
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		if code := status.Code(err); code == codes.Canceled || code == codes.DeadlineExceeded {
			return perhaps
		}
		return settled
	}
	switch {
	case e.Kind == fault.Unauthenticated, e.Kind == fault.Denied:
		return nothing // it does not know our caller, whom this replica knows: its keys are being changed
	case e.Kind != fault.Unavailable:
		return settled
	case e.Reason == reasonMoved, e.Reason == ReasonRebuilding:
		return nothing
	case e.Reason == ReasonOutcome && e.Metadata[movedBehind] == "":
		return settled
	}
	return perhaps // the connection broke, or the partition was lost behind the append
}

// movedBehind is the metadata by which a peer says that an outcome is not known because the partition was lost behind
// the append: the next owner may be asked at once.
const movedBehind = "moved"

// passedOn is an error as the peer that sent the call reads it.
func passedOn(b became, err error) error {
	switch b {
	case nothing:
		return movedAway(err)
	case perhaps:
		return errors.Join(fault.New(fault.Unavailable, ReasonOutcome, "the partition was lost behind the append").With(movedBehind, "true"), err)
	}
	return err
}

// trying is what is known of a call that was tried and has no verdict yet.
type trying struct {
	*subscribers
	key string
	// appended says that a try may stand in the log.
	appended bool
	wait     time.Duration
	// until bounds further tries once the process is stopping.
	until <-chan time.Time
}

// again waits for the next try. Its error is the answer where there will be none.
func (t *trying) again(ctx context.Context, b became, err error) error {
	t.appended = t.appended || b == perhaps
	switch {
	case b == settled && t.appended && (!isVerdict(err) || fault.KindOf(err) == fault.Throttled):
		return t.giveUp(err) // this try came to nothing, but not the one before
	case b == settled:
		return err
	case !t.appended && t.wait > 0 && t.rebuilds(ctx):
		return t.giveUp(err)
	}
	t.wait = min(max(2*t.wait, firstPause), lastPause)
	next := time.NewTimer(t.wait)
	defer next.Stop()
	for {
		stopping := t.stopping
		if t.until != nil {
			stopping = nil
		}
		select {
		case <-next.C:
			return nil
		case <-ctx.Done():
			return t.giveUp(errors.Join(ctx.Err(), err))
		case <-t.until:
			return t.giveUp(err)
		case <-stopping:
			t.until = time.After(stoppingPatience)
		}
	}
}

// rebuilds tells a partition that is rebuilt, which may take long, from one that only moves: that can be read from the
// store meanwhile.
func (t *trying) rebuilds(ctx context.Context) bool {
	patient, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	_, err := t.records.ReadStored(patient, t.key)
	return errors.Is(err, fold.ErrUnknown)
}

// giveUp is the answer where there will be no verdict.
func (t *trying) giveUp(err error) error {
	if !t.appended {
		return rebuilding("the subscriber's partition is moving between replicas or being rebuilt, and nothing happened", err)
	}
	return errors.Join(fault.New(fault.Unavailable, ReasonOutcome,
		"the subscriber's partition moved meanwhile, and it may be counted or not: the same call again, under the same reference, tells").After(retryAfter), err)
}
