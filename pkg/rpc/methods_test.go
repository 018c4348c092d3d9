package rpc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/tollgate/tollgate/pkg/access"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	_ "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

// everyService registers each service of the .proto files with methods that receive one message and answer an empty one.
// It returns the methods by full name.
func everyService(s *Server) map[string]protoreflect.MethodDescriptor {
	methods := map[string]protoreflect.MethodDescriptor{}
	there := s.GetServiceInfo()
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			name := string(service.FullName())
			if _, twice := there[name]; twice || !strings.HasPrefix(name, "tollgate.") {
				continue
			}
			desc := &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				methods["/"+name+"/"+string(m.Name())] = m
				// All are streams: a unary client meets no difference in how its message is received.
				desc.Streams = append(desc.Streams, grpc.StreamDesc{
					StreamName: string(m.Name()), ServerStreams: true, ClientStreams: true,
					Handler: func(_ any, stream grpc.ServerStream) error {
						if err := stream.RecvMsg(dynamicpb.NewMessage(m.Input())); err != nil {
							return err
						}
						return stream.SendMsg(dynamicpb.NewMessage(m.Output()))
					},
				})
			}
			s.RegisterService(desc, s)
		}
		return true
	})
	return methods
}

// naming sets what a request names: one of the paths to a name of the tenant, all to others where mixed.
func naming(m protoreflect.MethodDescriptor, rule access.Rule, path int, tenant string) proto.Message {
	out := dynamicpb.NewMessage(m.Input())
	if len(rule.Tenants) == 0 {
		return out
	}
	into, steps := protoreflect.Message(out), strings.Split(rule.Tenants[path], ".")
	for ; len(steps) > 1; steps = steps[1:] {
		into = into.Mutable(into.Descriptor().Fields().ByName(protoreflect.Name(steps[0]))).Message()
	}
	field := into.Descriptor().Fields().ByName(protoreflect.Name(steps[0]))
	value := protoreflect.ValueOfString("tenants/" + tenant + "/things/x")
	if field.Name() == "tenant" {
		value = protoreflect.ValueOfString(tenant)
	}
	if field.IsList() {
		into.Mutable(field).List().Append(value)
	} else {
		into.Set(field, value)
	}
	return out
}

func invoke(ctx context.Context, conn *grpc.ClientConn, method string, m protoreflect.MethodDescriptor, request proto.Message) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := stream.RecvMsg(dynamicpb.NewMessage(m.Output())); err != nil {
		return err
	}
	return stream.CloseSend()
}

func TestMethods_EveryCallerOnEveryMethod(t *testing.T) {
	env := daemon.NewEnv("config", zap.NewNop())
	cfg := DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes, cfg.ServiceKeyHashes = []string{HashKey(testKey)}, []string{HashKey("service")}
	server, err := NewServer(cfg, env)
	if err != nil {
		t.Fatal(err)
	}
	methods := everyService(server)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	address, err := env.Listeners.Wait(ctx, "grpc")
	if err != nil {
		t.Fatal(err)
	}
	// A key of tenant a with one scope each, and one with all.
	var keys []access.Key
	var all []access.Scope
	conns := map[access.Scope]*grpc.ClientConn{}
	for n, name := range configv1.ApiKeyScope_name {
		s := access.Scope(n)
		all = append(all, s)
		keys = append(keys, tenantKey(name, func(k *access.Key) { k.Rights.Scopes = access.ScopesOf(s) }))
		conns[s] = dial(t, address, name)
	}
	keys = append(keys, tenantKey("all", func(k *access.Key) { k.Rights.Scopes = access.ScopesOf(all...) }))
	server.Authorizer().Replace(keys)
	full, operator, service, nobody := dial(t, address, "all"), dial(t, address, testKey), dial(t, address, "service"), dial(t, address, "")

	for name, m := range methods {
		rule := access.Methods[name]
		wants := func(who string, err error, want string) {
			t.Helper()
			if fault.ReasonOf(err) != want || want == "" && err != nil {
				t.Errorf("%s, %s: %v, not %q", name, who, err, want)
			}
			if want != "" && want != reason.APIKeyMissing && fault.KindOf(err) != fault.Denied {
				t.Errorf("%s, %s: %v is not PERMISSION_DENIED", name, who, err)
			}
		}
		own := naming(m, rule, 0, "a")
		wants("nobody", invoke(t.Context(), nobody, name, m, own), reason.APIKeyMissing)
		ofOperator, ofService, ofTenant := "", reason.OperatorRequired, ""
		switch {
		case rule.ServiceOnly:
			ofOperator, ofTenant = reason.ServiceKeyRequired, reason.ServiceKeyRequired
		case rule.Scope == 0:
			ofTenant = reason.OperatorRequired
		}
		if rule.Service {
			ofService = ""
		}
		wants("an operator", invoke(t.Context(), operator, name, m, naming(m, rule, 0, "b")), ofOperator)
		wants("a service", invoke(t.Context(), service, name, m, naming(m, rule, 0, "b")), ofService)
		wants("a key with every scope", invoke(t.Context(), full, name, m, own), ofTenant)
		if rule.Scope == 0 {
			continue
		}
		for s, conn := range conns {
			want := reason.ScopeRequired
			if s == rule.Scope {
				want = ""
			}
			wants("a key with "+s.String(), invoke(t.Context(), conn, name, m, own), want)
		}
		if rule.Each {
			continue // tested where each event is answered
		}
		ofNoName := reason.TenantDenied
		if rule.Shared != "" {
			ofNoName = "" // what is shared
			shared := dynamicpb.NewMessage(m.Input())
			shared.Set(m.Input().Fields().ByName(protoreflect.Name(rule.Tenants[0])), protoreflect.ValueOfString(rule.Shared+"x"))
			wants("a key of any tenant, of what is shared", invoke(t.Context(), full, name, m, shared), "")
		}
		wants("a key of another tenant, of no name", invoke(t.Context(), full, name, m, dynamicpb.NewMessage(m.Input())), ofNoName)
		for i := range rule.Tenants {
			for _, other := range []string{"b", "-", "", "aa", "a b", "A"} {
				wants("a key of tenant a, "+rule.Tenants[i]+" of "+other, invoke(t.Context(), full, name, m, naming(m, rule, i, other)), reason.TenantDenied)
			}
			// Beside one that is its own.
			mixed := naming(m, rule, 0, "a")
			proto.Merge(mixed, naming(m, rule, i, "b"))
			wants("a key of tenant a, two names", invoke(t.Context(), full, name, m, mixed), reason.TenantDenied)
		}
	}
}
