package config

import (
	"context"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// tenantService serves configv1.TenantService.
type tenantService struct {
	configv1.UnimplementedTenantServiceServer
	resources resources[*configv1.Tenant]
}

func (s *tenantService) GetTenant(ctx context.Context, req *configv1.GetTenantRequest) (*configv1.Tenant, error) {
	return s.resources.get(ctx, req.GetName())
}

func (s *tenantService) ListTenants(ctx context.Context, req *configv1.ListTenantsRequest) (*configv1.ListTenantsResponse, error) {
	page, next, err := s.resources.list(ctx, "", req.GetPageSize(), req.GetPageToken(), req.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	return &configv1.ListTenantsResponse{Tenants: page, NextPageToken: next}, nil
}

func (s *tenantService) CreateTenant(ctx context.Context, req *configv1.CreateTenantRequest) (*configv1.Tenant, error) {
	return s.resources.create(ctx, req.GetTenant(), req.GetValidateOnly())
}

func (s *tenantService) UpdateTenant(ctx context.Context, req *configv1.UpdateTenantRequest) (*configv1.Tenant, error) {
	return s.resources.update(ctx, req.GetTenant(), req.GetUpdateMask(), req.GetAllowMissing(), req.GetValidateOnly())
}

func (s *tenantService) DeleteTenant(ctx context.Context, req *configv1.DeleteTenantRequest) (*configv1.Tenant, error) {
	return s.resources.remove(ctx, req.GetName(), req.GetEtag(), false)
}

func (s *tenantService) UndeleteTenant(ctx context.Context, req *configv1.UndeleteTenantRequest) (*configv1.Tenant, error) {
	return s.resources.undelete(ctx, req.GetName(), req.GetEtag())
}
