package access

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// ours are all methods of all services in the .proto files, by full name.
func ours() map[string]protoreflect.MethodDescriptor {
	all := map[string]protoreflect.MethodDescriptor{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				if name := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name()); IsTollgate(name) {
					all[name] = s.Methods().Get(j)
				}
			}
		}
		return true
	})
	return all
}

// A method that is added needs a row in Methods: until then operators alone may call it.
func TestMethods_EachHasARow(t *testing.T) {
	methods := ours()
	if len(methods) < 80 {
		t.Fatalf("found %d methods: the walk is wrong", len(methods))
	}
	for name := range methods {
		if _, ok := Methods[name]; !ok {
			t.Errorf("%s has no row in Methods: write who may call it, and where its request names the tenant", name)
		}
	}
	for name, rule := range Methods {
		m := methods[name]
		switch {
		case m == nil:
			t.Errorf("Methods has %s, which does not exist", name)
		case rule.Scope != 0 && !rule.Each && len(rule.Tenants) == 0:
			t.Errorf("%s is for keys of tenants, and nothing shows that a request is of theirs", name)
		case rule.Scope == 0 && (rule.Each || len(rule.Tenants) > 0):
			t.Errorf("%s reads a tenant, and no key of one may call it", name)
		case rule.ServiceOnly && !rule.Service:
			t.Errorf("%s is for nobody", name)
		}
		if rule.Scope != 0 && !KnownScope(rule.Scope) {
			t.Errorf("%s needs %s, which is no scope", name, rule.Scope)
		}
	}
}

// naming are fields that name what a request is about, wherever they stand in it.
var naming = []protoreflect.Name{"name", "names", "parent", "tenant", "notification"}

// What a request names and no row reads would reach another tenant.
func TestMethods_ReadEveryFieldThatNamesATenant(t *testing.T) {
	for name, m := range ours() {
		rule := Methods[name]
		if rule.Scope == 0 || rule.Each {
			continue
		}
		var found []string
		fields := m.Input().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			if f.Kind() == protoreflect.StringKind && slices.Contains(naming, f.Name()) {
				found = append(found, string(f.Name()))
			}
			// A resource, or a request within a stream.
			if f.Message() != nil && strings.HasPrefix(string(f.Message().FullName()), "tollgate.") {
				if n := f.Message().Fields().ByName("name"); n != nil && n.Kind() == protoreflect.StringKind {
					found = append(found, string(f.Name())+".name")
				}
			}
		}
		slices.Sort(found)
		want := slices.Sorted(slices.Values(rule.Tenants))
		if !slices.Equal(found, want) {
			t.Errorf("%s: the request names %v, its row reads %v", name, found, want)
		}
	}
}

// Each scope is of use.
func TestScopes_EachOpensAMethod(t *testing.T) {
	later := []Scope{DeliveriesRead, DeliveriesReplay} // their services are not there yet
	for n := range configv1.ApiKeyScope_name {
		s := Scope(n)
		if n == 0 {
			continue
		}
		opens := false
		for _, rule := range Methods {
			opens = opens || rule.Scope == s
		}
		if !opens && !slices.Contains(later, s) {
			t.Errorf("%s opens no method", s)
		}
	}
}
