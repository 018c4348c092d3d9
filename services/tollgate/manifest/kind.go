package manifest

import (
	"context"
	"strings"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"google.golang.org/grpc"
)

// kind is what the four kinds of resource differ in. They stand in the order in which they are applied.
type kind struct {
	name string
	// short is what people type instead, besides name and plural.
	short string
	// field is the resource's in requests: the service's violations begin with it.
	field   string
	example string
	make    func() Resource
	get     func(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error)
	put     func(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error)
	// list is one page of those below parent, and where the next begins.
	list   func(ctx context.Context, conn *grpc.ClientConn, parent, page string) ([]Resource, string, error)
	remove func(ctx context.Context, conn *grpc.ClientConn, name string, force bool) (Resource, error)
}

// plural is the collection's part of a name, such as "classesOfService".
func (k *kind) plural() string {
	parts := strings.Split(k.example, "/")
	return parts[len(parts)-2]
}

// called says whether somebody who typed this means the kind; capitals make no difference.
func (k *kind) called(typed string) bool {
	return strings.EqualFold(typed, k.name) || strings.EqualFold(typed, k.plural()) || k.short != "" && strings.EqualFold(typed, k.short)
}

// Kinds that are named elsewhere too.
const (
	tenantName = "Tenant"
	className  = "ClassOfService"
)

var kinds = []*kind{
	{
		name: tenantName, field: "tenant", example: "tenants/acme",
		make: func() Resource { return &configv1.Tenant{} },
		get: func(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error) {
			return configv1.NewTenantServiceClient(conn).GetTenant(ctx, &configv1.GetTenantRequest{Name: name})
		},
		put: func(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error) {
			return configv1.NewTenantServiceClient(conn).UpdateTenant(ctx, &configv1.UpdateTenantRequest{
				Tenant: r.(*configv1.Tenant), AllowMissing: true, ValidateOnly: validateOnly,
			})
		},
		list: func(ctx context.Context, conn *grpc.ClientConn, _, page string) ([]Resource, string, error) {
			res, err := configv1.NewTenantServiceClient(conn).ListTenants(ctx, &configv1.ListTenantsRequest{PageSize: pageSize, PageToken: page})
			return resources(res.GetTenants()), res.GetNextPageToken(), err
		},
		remove: func(ctx context.Context, conn *grpc.ClientConn, name string, _ bool) (Resource, error) {
			return configv1.NewTenantServiceClient(conn).DeleteTenant(ctx, &configv1.DeleteTenantRequest{Name: name})
		},
	},
	{
		name: className, short: "cos", field: "class_of_service", example: "tenants/acme/classesOfService/gold",
		make: func() Resource { return &configv1.ClassOfService{} },
		get: func(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error) {
			return configv1.NewClassOfServiceServiceClient(conn).GetClassOfService(ctx, &configv1.GetClassOfServiceRequest{Name: name})
		},
		put: func(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error) {
			return configv1.NewClassOfServiceServiceClient(conn).UpdateClassOfService(ctx, &configv1.UpdateClassOfServiceRequest{
				ClassOfService: r.(*configv1.ClassOfService), AllowMissing: true, ValidateOnly: validateOnly,
			})
		},
		list: func(ctx context.Context, conn *grpc.ClientConn, parent, page string) ([]Resource, string, error) {
			res, err := configv1.NewClassOfServiceServiceClient(conn).ListClassesOfService(ctx, &configv1.ListClassesOfServiceRequest{Parent: parent, PageSize: pageSize, PageToken: page})
			return resources(res.GetClassesOfService()), res.GetNextPageToken(), err
		},
		remove: func(ctx context.Context, conn *grpc.ClientConn, name string, force bool) (Resource, error) {
			return configv1.NewClassOfServiceServiceClient(conn).DeleteClassOfService(ctx, &configv1.DeleteClassOfServiceRequest{Name: name, Force: force})
		},
	},
	{
		name: "Endpoint", field: "endpoint", example: "tenants/acme/endpoints/crm",
		make: func() Resource { return &configv1.Endpoint{} },
		get: func(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error) {
			return configv1.NewEndpointServiceClient(conn).GetEndpoint(ctx, &configv1.GetEndpointRequest{Name: name})
		},
		put: func(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error) {
			return configv1.NewEndpointServiceClient(conn).UpdateEndpoint(ctx, &configv1.UpdateEndpointRequest{
				Endpoint: r.(*configv1.Endpoint), AllowMissing: true, ValidateOnly: validateOnly,
			})
		},
		list: func(ctx context.Context, conn *grpc.ClientConn, parent, page string) ([]Resource, string, error) {
			res, err := configv1.NewEndpointServiceClient(conn).ListEndpoints(ctx, &configv1.ListEndpointsRequest{Parent: parent, PageSize: pageSize, PageToken: page})
			return resources(res.GetEndpoints()), res.GetNextPageToken(), err
		},
		remove: func(ctx context.Context, conn *grpc.ClientConn, name string, _ bool) (Resource, error) {
			return configv1.NewEndpointServiceClient(conn).DeleteEndpoint(ctx, &configv1.DeleteEndpointRequest{Name: name})
		},
	},
	{
		name: "Notification", field: "notification", example: "tenants/acme/notifications/data-alert",
		make: func() Resource { return &configv1.Notification{} },
		get: func(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error) {
			return configv1.NewNotificationServiceClient(conn).GetNotification(ctx, &configv1.GetNotificationRequest{Name: name})
		},
		put: func(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error) {
			return configv1.NewNotificationServiceClient(conn).UpdateNotification(ctx, &configv1.UpdateNotificationRequest{
				Notification: r.(*configv1.Notification), AllowMissing: true, ValidateOnly: validateOnly,
			})
		},
		list: func(ctx context.Context, conn *grpc.ClientConn, parent, page string) ([]Resource, string, error) {
			res, err := configv1.NewNotificationServiceClient(conn).ListNotifications(ctx, &configv1.ListNotificationsRequest{Parent: parent, PageSize: pageSize, PageToken: page})
			return resources(res.GetNotifications()), res.GetNextPageToken(), err
		},
		remove: func(ctx context.Context, conn *grpc.ClientConn, name string, _ bool) (Resource, error) {
			return configv1.NewNotificationServiceClient(conn).DeleteNotification(ctx, &configv1.DeleteNotificationRequest{Name: name})
		},
	},
}

func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

func kindNames() string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return strings.Join(names, ", ")
}

// rank is a kind's place in the order of dependency.
func rank(k *kind) int {
	for i, other := range kinds {
		if k == other {
			return i
		}
	}
	return len(kinds)
}

// needs are the names of other resources that this one can only be judged with.
func needs(r Resource) []string {
	var names []string
	if parts := strings.SplitN(r.GetName(), "/", 3); len(parts) == 3 {
		names = append(names, parts[0]+"/"+parts[1])
	}
	if class := defaultClass(r); class != "" {
		names = append(names, class)
	}
	if n, ok := r.(*configv1.Notification); ok {
		for _, a := range n.GetActions() {
			if endpoint := a.GetWebhook().GetEndpoint(); endpoint != "" {
				names = append(names, endpoint)
			}
		}
	}
	return names
}
