package config

import (
	"context"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// classService serves configv1.ClassOfServiceService.
type classService struct {
	configv1.UnimplementedClassOfServiceServiceServer
	resources resources[*configv1.ClassOfService]
}

func (s *classService) GetClassOfService(ctx context.Context, req *configv1.GetClassOfServiceRequest) (*configv1.ClassOfService, error) {
	return s.resources.get(ctx, req.GetName())
}

func (s *classService) ListClassesOfService(ctx context.Context, req *configv1.ListClassesOfServiceRequest) (*configv1.ListClassesOfServiceResponse, error) {
	page, next, err := s.resources.list(ctx, req.GetParent(), req.GetPageSize(), req.GetPageToken(), req.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	return &configv1.ListClassesOfServiceResponse{ClassesOfService: page, NextPageToken: next}, nil
}

func (s *classService) CreateClassOfService(ctx context.Context, req *configv1.CreateClassOfServiceRequest) (*configv1.ClassOfService, error) {
	return s.resources.create(ctx, req.GetClassOfService(), req.GetValidateOnly())
}

func (s *classService) UpdateClassOfService(ctx context.Context, req *configv1.UpdateClassOfServiceRequest) (*configv1.ClassOfService, error) {
	return s.resources.update(ctx, req.GetClassOfService(), req.GetUpdateMask(), req.GetAllowMissing(), req.GetValidateOnly())
}

func (s *classService) DeleteClassOfService(ctx context.Context, req *configv1.DeleteClassOfServiceRequest) (*configv1.ClassOfService, error) {
	return s.resources.remove(ctx, req.GetName(), req.GetEtag(), req.GetForce())
}

func (s *classService) UndeleteClassOfService(ctx context.Context, req *configv1.UndeleteClassOfServiceRequest) (*configv1.ClassOfService, error) {
	return s.resources.undelete(ctx, req.GetName(), req.GetEtag())
}
