package config

import (
	"context"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// notificationService serves configv1.NotificationService.
type notificationService struct {
	configv1.UnimplementedNotificationServiceServer
	resources resources[*configv1.Notification]
}

func (s *notificationService) GetNotification(ctx context.Context, req *configv1.GetNotificationRequest) (*configv1.Notification, error) {
	return s.resources.get(ctx, req.GetName())
}

func (s *notificationService) ListNotifications(ctx context.Context, req *configv1.ListNotificationsRequest) (*configv1.ListNotificationsResponse, error) {
	page, next, err := s.resources.list(ctx, req.GetParent(), req.GetPageSize(), req.GetPageToken(), req.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	return &configv1.ListNotificationsResponse{Notifications: page, NextPageToken: next}, nil
}

func (s *notificationService) CreateNotification(ctx context.Context, req *configv1.CreateNotificationRequest) (*configv1.Notification, error) {
	return s.resources.create(ctx, req.GetNotification(), req.GetValidateOnly())
}

func (s *notificationService) UpdateNotification(ctx context.Context, req *configv1.UpdateNotificationRequest) (*configv1.Notification, error) {
	return s.resources.update(ctx, req.GetNotification(), req.GetUpdateMask(), req.GetAllowMissing(), req.GetValidateOnly())
}

func (s *notificationService) DeleteNotification(ctx context.Context, req *configv1.DeleteNotificationRequest) (*configv1.Notification, error) {
	return s.resources.remove(ctx, req.GetName(), req.GetEtag(), false)
}

func (s *notificationService) UndeleteNotification(ctx context.Context, req *configv1.UndeleteNotificationRequest) (*configv1.Notification, error) {
	return s.resources.undelete(ctx, req.GetName(), req.GetEtag())
}
