package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// command has the log's owner work a command, if that is this replica, and answers after the commit that holds it. The
// answer is named: name writes into it whose it is.
func command[Res any, P message[Res]](ctx context.Context, s *subscribers, e *event.Event, name func(P)) (*Res, error) {
	a, err := s.records.Call(ctx, e)
	answer, ok := answerOf(a, err).(P)
	if !ok {
		return nil, &unanswered{e.Key(), err}
	}
	res := proto.CloneOf(answer) // others may be answered with it as well
	name(res)
	return (*Res)(res), nil
}

// answerOf is what a command that was decided is answered with; nil where there is no such answer.
func answerOf(a fold.Answer, err error) any {
	if refused, ok := errors.AsType[*account.RefusedCharge](err); ok {
		return refused.Answer
	}
	if err != nil {
		return nil
	}
	return a.Value
}

// unanswered is the error of a command that this replica has no answer to. Whether another replica may have one follows
// from it.
type unanswered struct {
	key string // of the subscriber
	err error
}

func (u *unanswered) Error() string { return u.err.Error() }
func (u *unanswered) Unwrap() error { return u.err }

// message is a pointer to a generated message.
type message[M any] interface {
	*M
	proto.Message
}
