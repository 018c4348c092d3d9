package access

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Authorize is why a caller may not call a method, by its full name; nil where it may. With a tenant's key CheckTenant
// comes beside it, for each request message.
func Authorize(c *Caller, method string) error {
	rule := Methods[method]
	switch {
	case c == nil:
		return fault.New(fault.Denied, reason.OperatorRequired, "the caller is not known")
	case c.Service && rule.Service:
		return nil
	case rule.ServiceOnly:
		return fault.New(fault.Denied, reason.ServiceKeyRequired, "%s is called by a service: its key must be one of grpc.service_key_hashes_file", short(method))
	case c.Operator:
		return nil
	case rule.Scope == 0:
		return fault.New(fault.Denied, reason.OperatorRequired, "%s is for operators: their keys are those of grpc.api_key_hashes_file", short(method))
	case c.Key == nil:
		return fault.New(fault.Denied, reason.OperatorRequired, "%s is not for the key of a service", short(method))
	case !c.Has(rule.Scope):
		return fault.New(fault.Denied, reason.ScopeRequired, "%s needs the scope %s, which %s lacks", short(method), rule.Scope, c.Key.Name)
	}
	return nil
}

// CheckTenant is why a caller may not send a request message to a method; nil where it may.
func CheckTenant(c *Caller, method string, request proto.Message) error {
	if c == nil || c.Operator || c.Key == nil {
		return nil // Authorize has seen who else may call it
	}
	rule := Methods[method]
	if rule.Each {
		return nil
	}
	named := false
	for _, path := range rule.Tenants {
		for _, name := range valuesAt(request.ProtoReflect(), strings.Split(path, ".")) {
			if rule.Shared != "" && strings.HasPrefix(name, rule.Shared) {
				named = true
				continue
			}
			if !c.Reaches(tenantIn(name)) {
				return ErrTenant(c, path)
			}
			named = true
		}
	}
	if !named && rule.Shared == "" {
		return ErrTenant(c, strings.Join(rule.Tenants, " or "))
	}
	return nil
}

// ErrTenant is the error of a request that names, in a field, what is of another tenant, or of none.
func ErrTenant(c *Caller, field string) error {
	if c == nil || c.Key == nil {
		return fault.New(fault.Denied, reason.TenantDenied, "%s: the caller reaches no tenant", field)
	}
	return fault.New(fault.Denied, reason.TenantDenied, "%s must be of tenants/%s: that is all that the API key reaches", field, c.Key.Tenant)
}

// tenantIn is the tenant's id in a resource name, or in a field that has the id alone.
func tenantIn(name string) string {
	first, rest, more := strings.Cut(name, "/")
	if !more {
		return first
	}
	id, _, _ := strings.Cut(rest, "/")
	if first != "tenants" {
		return ""
	}
	return id
}

// valuesAt are the texts at a path of fields, those of a list each; none where it is not set.
func valuesAt(m protoreflect.Message, path []string) []string {
	field := m.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case field == nil || !m.Has(field):
		return nil
	case len(path) > 1:
		return valuesAt(m.Get(field).Message(), path[1:])
	case !field.IsList():
		return []string{m.Get(field).String()}
	}
	var all []string
	list := m.Get(field).List()
	for i := range list.Len() {
		all = append(all, list.Get(i).String())
	}
	return all
}

// PublishHTTP is the method of HTTP that is authorized as PublishBatch.
const PublishHTTP = "POST /v1/events"

// Lacking is the scope that a caller lacks who was refused for a reason; empty where it is no scope.
func Lacking(method, why string) string {
	scope := Methods[method].Scope
	if method == PublishHTTP {
		scope = Publish
	}
	if why != reason.ScopeRequired || scope == 0 {
		return ""
	}
	return ScopeName(scope)
}

// short is a method without its package, such as "TenantService.ListTenants".
func short(method string) string {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service[strings.LastIndexByte(service, '.')+1:] + "." + name
}
