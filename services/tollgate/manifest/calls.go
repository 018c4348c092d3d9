package manifest

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// The services of all kinds have the same methods, whose names begin with the operation, and fields of requests with one
// meaning have one name. So the calls of a kind follow from the descriptor of its message.

func (k *kind) get(ctx context.Context, conn *grpc.ClientConn, name string) (Resource, error) {
	return k.one(ctx, conn, "Get", fields{"name": name})
}

func (k *kind) put(ctx context.Context, conn *grpc.ClientConn, r Resource, validateOnly bool) (Resource, error) {
	return k.one(ctx, conn, "Update", fields{
		protoreflect.Name(k.field): r.ProtoReflect(), "allow_missing": true, "validate_only": validateOnly,
	})
}

// list is one page of those below parent, and where the next begins.
func (k *kind) list(ctx context.Context, conn *grpc.ClientConn, parent string, q Query, page string) ([]Resource, string, error) {
	answer, err := k.call(ctx, conn, "List", fields{
		"parent": parent, "page_size": int32(pageSize), "page_token": page, "filter": q.Filter, "order_by": q.OrderBy,
	})
	if err != nil {
		return nil, "", err
	}
	var all []Resource
	next := ""
	answer.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !f.IsList() {
			next = v.String()
			return true
		}
		for i := range v.List().Len() {
			all = append(all, v.List().Get(i).Message().Interface().(Resource))
		}
		return true
	})
	return all, next, nil
}

func (k *kind) remove(ctx context.Context, conn *grpc.ClientConn, name, etag string, force bool) (Resource, error) {
	return k.one(ctx, conn, "Delete", fields{"name": name, "etag": etag, "force": force})
}

// one is a call that answers the resource.
func (k *kind) one(ctx context.Context, conn *grpc.ClientConn, operation string, of fields) (Resource, error) {
	answer, err := k.call(ctx, conn, operation, of)
	if err != nil {
		return nil, err
	}
	return answer.Interface().(Resource), nil
}

// fields are values of a request. Those that the request of a kind lacks are left out.
type fields map[protoreflect.Name]any

func (k *kind) call(ctx context.Context, conn *grpc.ClientConn, operation string, of fields) (protoreflect.Message, error) {
	m, err := k.method(operation)
	if err != nil {
		return nil, err
	}
	in, inErr := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	out, outErr := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if inErr != nil || outErr != nil {
		return nil, fmt.Errorf("call %s: its messages are unknown", m.FullName())
	}
	request, answer := in.New(), out.New()
	for name, v := range of {
		if f := m.Input().Fields().ByName(name); f != nil {
			request.Set(f, protoreflect.ValueOf(v))
		}
	}
	path := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	err = conn.Invoke(ctx, path, request.Interface(), answer.Interface(), grpc.StaticMethod())
	return answer, err
}

// method finds the method of the kind's service whose name begins with the operation.
func (k *kind) method(operation string) (protoreflect.MethodDescriptor, error) {
	var message proto.Message = k.make()
	name := message.ProtoReflect().Descriptor().FullName() + "Service"
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return nil, fmt.Errorf("find service %s: %w", name, err)
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	for i := range methods.Len() {
		if m := methods.Get(i); strings.HasPrefix(string(m.Name()), operation) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("service %s has no method %s", name, operation)
}
