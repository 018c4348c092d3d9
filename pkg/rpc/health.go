package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthService answers grpc.health.v1 from the checks of /readyz; every registered service has the status of the
// process.
type healthService struct {
	grpc_health_v1.UnimplementedHealthServer
	server *Server
}

func (h *healthService) status(service string) grpc_health_v1.HealthCheckResponse_ServingStatus {
	if _, ok := h.server.grpc.GetServiceInfo()[service]; !ok && service != "" {
		return grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
	}
	if len(h.server.env.Health.Failing()) > 0 {
		return grpc_health_v1.HealthCheckResponse_NOT_SERVING
	}
	return grpc_health_v1.HealthCheckResponse_SERVING
}

// Check answers for one service, or for the process where the request names none.
func (h *healthService) Check(_ context.Context, req *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	st := h.status(req.GetService())
	if st == grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &grpc_health_v1.HealthCheckResponse{Status: st}, nil
}

// Watch sends the status at once and after each change, which it looks for once a second.
func (h *healthService) Watch(req *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := grpc_health_v1.HealthCheckResponse_ServingStatus(-1)
	for {
		if st := h.status(req.GetService()); st != last {
			last = st
			if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: st}); err != nil {
				return err
			}
		}
		select {
		case <-ticker.C:
		case <-h.server.stopping:
			return stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING})
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
