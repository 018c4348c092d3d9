package config

import (
	"context"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// endpointService serves configv1.EndpointService.
type endpointService struct {
	configv1.UnimplementedEndpointServiceServer
	resources resources[*configv1.Endpoint]
}

func (s *endpointService) GetEndpoint(ctx context.Context, req *configv1.GetEndpointRequest) (*configv1.Endpoint, error) {
	return s.resources.get(ctx, req.GetName())
}

func (s *endpointService) ListEndpoints(ctx context.Context, req *configv1.ListEndpointsRequest) (*configv1.ListEndpointsResponse, error) {
	page, next, err := s.resources.list(ctx, req.GetParent(), req.GetPageSize(), req.GetPageToken(), req.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	return &configv1.ListEndpointsResponse{Endpoints: page, NextPageToken: next}, nil
}

func (s *endpointService) CreateEndpoint(ctx context.Context, req *configv1.CreateEndpointRequest) (*configv1.Endpoint, error) {
	return s.resources.create(ctx, req.GetEndpoint(), req.GetValidateOnly())
}

func (s *endpointService) UpdateEndpoint(ctx context.Context, req *configv1.UpdateEndpointRequest) (*configv1.Endpoint, error) {
	return s.resources.update(ctx, req.GetEndpoint(), req.GetUpdateMask(), req.GetAllowMissing(), req.GetValidateOnly())
}

func (s *endpointService) DeleteEndpoint(ctx context.Context, req *configv1.DeleteEndpointRequest) (*configv1.Endpoint, error) {
	return s.resources.remove(ctx, req.GetName(), req.GetEtag(), false)
}

func (s *endpointService) UndeleteEndpoint(ctx context.Context, req *configv1.UndeleteEndpointRequest) (*configv1.Endpoint, error) {
	return s.resources.undelete(ctx, req.GetName(), req.GetEtag())
}
