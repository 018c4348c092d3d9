package service

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Report reports the health of targets to the configuration service.
type Report func(ctx context.Context, q *configv1.ReportHealthRequest, _ ...grpc.CallOption) (*configv1.ReportHealthResponse, error)

type reporter struct {
	report Report
	log    *zap.Logger
}

// Report implements delivery.Reporter. A report that is refused is of an endpoint that is gone, or of an activation that
// this process or the service does not know yet: the next change is reported again.
func (r reporter) Report(ctx context.Context, reports []delivery.EndpointHealth) error {
	q := &configv1.ReportHealthRequest{}
	for i := range reports {
		q.Reports = append(q.Reports, &configv1.EndpointHealthReport{Name: reports[i].Name, Health: healthMessage(&reports[i])})
	}
	answer, err := r.report(ctx, q)
	if err != nil {
		return fmt.Errorf("report health of %d endpoints: %w", len(reports), err)
	}
	for _, name := range answer.GetRefused() {
		r.log.Info("health of endpoint refused", zap.String("endpoint", name))
	}
	return nil
}

func healthMessage(h *delivery.EndpointHealth) *configv1.EndpointHealth {
	m := &configv1.EndpointHealth{
		State: configv1.EndpointState_ENDPOINT_STATE_HEALTHY, Reason: h.Suspended, Since: timestamp(h.Since),
		Failures: h.Failures, FailingSince: timestamp(h.FailingSince), LastSuccess: timestamp(h.LastSuccess),
		LastStatus: int32(h.LastStatus), LastError: h.LastError, CircuitOpen: h.CircuitOpen, NextProbe: timestamp(h.NextProbe),
		HoldUntil: timestamp(h.HoldUntil), Waiting: h.Waiting, Behind: h.Behind, Activation: h.Activation,
	}
	switch {
	case h.Suspended != "":
		m.State = configv1.EndpointState_ENDPOINT_STATE_SUSPENDED
	case h.Failures > 0:
		m.State = configv1.EndpointState_ENDPOINT_STATE_FAILING
	}
	return m
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
