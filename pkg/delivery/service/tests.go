package service

import (
	"context"
	"fmt"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// MaxTests is how many tests are under way in a process at once.
const MaxTests = 16

// Tests bounds the tests of TestService.
type Tests struct {
	// Snapshot is the newest revision; nil while none was read.
	Snapshot func() *configclient.Snapshot
	underWay chan struct{}
}

// NewTests makes one that reads revisions from snapshot.
func NewTests(snapshot func() *configclient.Snapshot) *Tests {
	return &Tests{Snapshot: snapshot, underWay: make(chan struct{}, MaxTests)}
}

// Begin returns the configuration that a test is made with; end must be called once it is over.
func (t *Tests) Begin() (s *configclient.Snapshot, end func(), err error) {
	select {
	case t.underWay <- struct{}{}:
	default:
		return nil, nil, fault.New(fault.Throttled, "TESTS_UNDER_WAY", "%d tests are under way: try again when one has ended", MaxTests)
	}
	end = func() { <-t.underWay }
	if s = t.Snapshot(); s == nil {
		end()
		return nil, nil, fault.New(fault.Unavailable, reason.ConfigNotRead, "the configuration is not read yet")
	}
	return s, end, nil
}

// CheckInline checks a resource that is not stored as config does when one is saved, without the bounds of lengths in the
// .proto, which config alone compiles; and returns its tenant.
func CheckInline(s *configclient.Snapshot, kind *channel.Kind, given channel.Resource) (*configclient.Tenant, error) {
	var f, named, of fault.Violations
	kind.ValidateTarget(given.GetName(), "", &named)
	f.AddErr("", named.Err(reason.ConfigInvalid))
	id, _ := kind.Split(given.GetName())
	tenant, known := s.Tenant(id)
	if !known {
		if id != "" {
			f.Add(kind.Field+".name", "must be of a tenant that exists")
		}
		tenant = &configclient.Tenant{}
	}
	kind.Validate(given, tenant.Outbound, &of)
	f.AddErr(kind.Field, of.Err(reason.ConfigInvalid))
	return tenant, f.Err(reason.ConfigInvalid)
}

// TestAnswer is the answer of a test: what was sent, and what came of it.
func TestAnswer(ctx context.Context, d *delivery.Delivery, out *delivery.Outcome) (*deliveryv1.SendTestResponse, error) {
	switch {
	case out.Unfinished:
		return nil, fmt.Errorf("send the test: %w", context.Cause(ctx))
	case out.Result == delivery.LocalFailure:
		return nil, fault.New(fault.Unavailable, "TEST_NOT_SENT", "no request could be made: %s", out.Error)
	}
	return &deliveryv1.SendTestResponse{Attempt: delivery.TestAttempt(d, out), ContentType: d.ContentType, Body: d.Body}, nil
}
