package api

import (
	"context"
	"errors"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// records is what the API asks of the engine.
type records interface {
	// Read answers from this replica's partitions.
	Read(ctx context.Context, key string) (fold.Reading[account.Subscriber], error)
	// Cached is Read where that takes no more than memory.
	Cached(key string) (fold.Reading[account.Subscriber], bool)
	// ReadStored answers from the store, whichever replica has the partition.
	ReadStored(ctx context.Context, key string) (fold.Reading[account.Subscriber], error)
	// Call adds a command to the log and answers after the commit that holds it.
	Call(ctx context.Context, e *event.Event) (fold.Answer, error)
	// Watch signals changes of a record for as long as its partition is here.
	Watch(key string) (changed <-chan struct{}, stop func())
	// Partition that a key falls to, and End of a partition's log.
	Partition(key string) int32
	End(ctx context.Context, partition int32) (int64, error)
}

// subscribers is how the services reach a subscriber: in this replica's partitions, or in the store.
type subscribers struct {
	records  records
	catalogs catalogs
	clock    func() time.Time
	answered *answered
	// stopping is closed when the process begins to end.
	stopping <-chan struct{}
	// timeout bounds one request of a stream, which has no deadline of its own.
	timeout time.Duration
}

const (
	// hop is how long the owner may take to answer a read before the store is asked instead.
	hop = 20 * time.Millisecond
	// storePatience bounds that, so that "not known" is an answer in time.
	storePatience = 250 * time.Millisecond
)

// reach reads a subscriber as committed last. Where err is that this is not known, the reading has what is known all the
// same. Another replica that owns the partition has patience to answer.
func (s *subscribers) reach(ctx context.Context, at subject, patience time.Duration) (r fold.Reading[account.Subscriber], err error) {
	r, err = s.records.Read(ctx, at.key())
	if err == nil {
		s.answered.read(fromOwner)
		return r, nil
	}
	if away, ok := errors.AsType[*fold.NotOwnerError](err); ok {
		failed, asked := ctx.Value(ownerAsked{}).(error)
		if !asked {
			return r, &elsewhere{owner: away, patience: patience}
		}
		err = errors.Join(err, failed)
	}
	patient, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	r, stored := s.records.ReadStored(patient, at.key())
	if stored != nil {
		s.answered.read(fromNowhere)
		return r, unreadable(errors.Join(stored, err))
	}
	s.answered.read(fromStore)
	return r, nil
}

// read answers from a subscriber as committed last; where a position is given, from a state in which the event there was
// worked, as soon as it is.
func read[Res any](ctx context.Context, s *subscribers, at subject, after *optionsv1.Position, answer func(*account.View) (*Res, error)) (*Res, error) {
	r, err := s.reachBehind(ctx, at, after)
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx, at, &r)
	if err != nil {
		return nil, err
	}
	return answer(&v)
}

// view brings what was read to the present.
func (s *subscribers) view(ctx context.Context, at subject, r *fold.Reading[account.Subscriber]) (account.View, error) {
	v := s.viewed(at, r)
	if !r.Exists || !r.Body.Alive() {
		return v, nil
	}
	c, err := s.catalogs.at(ctx, r.Revision)
	if err != nil {
		return v, rebuilding("the configuration can't be read now", err)
	}
	v.Under(c)
	return v, nil
}

// viewed is what was read, under no configuration yet.
func (s *subscribers) viewed(at subject, r *fold.Reading[account.Subscriber]) account.View {
	v := account.View{
		Tenant: at.tenant, MSISDN: at.msisdn, Exists: r.Exists, Subscriber: r.Body,
		Sequence: r.Sequence, LogTime: r.Time, Staleness: r.Staleness, Now: s.clock(),
	}
	if r.Time.After(v.Now) {
		v.Now = r.Time
	}
	return v
}

// cached is view where reading takes no more than memory.
func (s *subscribers) cached(at subject) (v account.View, r fold.Reading[account.Subscriber], ok bool) {
	if r, ok = s.records.Cached(at.key()); !ok {
		return v, r, false
	}
	v = s.viewed(at, &r)
	if r.Exists && r.Body.Alive() {
		c, err := s.catalogs.At(r.Revision)
		if err != nil {
			return v, r, false
		}
		v.Under(c)
	}
	s.answered.read(fromOwner)
	return v, r, true
}

// isFinal is whether an error of a peer is an answer: of what the caller did, or what does not exist. Other errors are that
// the peer does not know.
func isFinal(err error) bool {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.NotFound, fault.AlreadyExists, fault.Conflict, fault.Precondition, fault.Throttled:
		return true
	}
	return false
}

// retryAfter is how long a caller is asked to wait for what is being rebuilt.
const retryAfter = time.Second

// rebuilding is the answer where it is not known now what exists. Causes are for the log: the caller reads why.
func rebuilding(why string, causes ...error) error {
	answer := fault.New(fault.Unavailable, ReasonRebuilding, "%s: ask again", why).After(retryAfter)
	return errors.Join(append([]error{answer}, causes...)...)
}

// unreadable is the answer where neither an owner nor the store knows.
func unreadable(err error) error {
	if errors.Is(err, fold.ErrUnknown) {
		return rebuilding("the subscriber's partition is being opened or rebuilt", err)
	}
	return rebuilding("the subscriber's record can't be read now", err)
}

// reasonMoved is that nothing happened here, and that another replica may know.
const reasonMoved = "PARTITION_MOVED"

// movedAway is the answer of a replica that a peer took for the owner.
func movedAway(cause error) error {
	return errors.Join(fault.New(fault.Unavailable, reasonMoved, "the subscriber's partition is moving between replicas: ask again").After(retryAfter), cause)
}
