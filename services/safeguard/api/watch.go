package api

import (
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// Watch answers with the options as they are, and again after each change, from the replica that has the partition for
// as long as it has it.
func (v *inventory) Watch(req *optionsv1.WatchRequest, out grpc.ServerStreamingServer[optionsv1.WatchResponse]) error {
	var f fault.Violations
	at := subjectIn(&f, "name", req.GetName())
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return err
	}
	changed, stop := v.records.Watch(at.key())
	defer stop()
	var last *optionsv1.WatchResponse
	for {
		now, err := v.watched(out, at)
		if err != nil {
			return err
		}
		if now.GetGone() && last == nil {
			return (&account.View{Tenant: at.tenant, MSISDN: at.msisdn}).Present()
		}
		if !sameButAge(last, now) {
			if err := out.Send(now); err != nil {
				return err
			}
			last = now
		}
		select {
		case _, here := <-changed:
			if !here {
				return movedAway(errLost)
			}
		case <-v.stopping:
			return rpc.ErrStopping()
		case <-out.Context().Done():
			return out.Context().Err()
		}
	}
}

var errLost = errors.New("partition was lost")

func (v *inventory) watched(out grpc.ServerStreamingServer[optionsv1.WatchResponse], at subject) (*optionsv1.WatchResponse, error) {
	r, err := v.records.Read(out.Context(), at.key())
	if away, ok := errors.AsType[*fold.NotOwnerError](err); ok {
		return nil, &elsewhere{owner: away, watch: true}
	}
	if err != nil {
		return nil, unreadable(err)
	}
	now, err := v.view(out.Context(), at, &r)
	if err != nil {
		return nil, err
	}
	m := &optionsv1.WatchResponse{Sequence: r.Sequence}
	m.Options, err = all(&now)
	m.Gone = err != nil
	return m, nil
}

// sameButAge is whether two answers differ in nothing but how old they may be.
func sameButAge(a, b *optionsv1.WatchResponse) bool {
	return a != nil && proto.Equal(ageless(a), ageless(b))
}

func ageless(m *optionsv1.WatchResponse) *optionsv1.WatchResponse {
	c := proto.CloneOf(m)
	if d := c.GetOptions().GetDataSafeguard(); d != nil {
		d.Staleness = nil
	}
	if d := c.GetOptions().GetOverspendSafeguard(); d != nil {
		d.Staleness = nil
	}
	if d := c.GetOptions().GetPaymentSafeguard(); d != nil {
		d.Staleness = nil
	}
	return c
}
