package config

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/config/query"
)

// The services of all kinds have the same six methods. One implementation serves them by their descriptors: method names
// begin with the operation, and fields of requests with one meaning have one name.

// resourceService is the gRPC service of a kind.
func (s *service) resourceService(k *kind) *grpc.ServiceDesc {
	found := configv1.File_tollgate_config_v1_resources_proto.Package().Append(protoreflect.Name(messageName(k)) + "Service")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(found)
	if err != nil {
		panic(fmt.Sprintf("config: kind %s has no service %s", k.name, found)) // a slip in a .proto, in every test
	}
	service := d.(protoreflect.ServiceDescriptor)
	desc := &grpc.ServiceDesc{ServiceName: string(found), HandlerType: (*any)(nil), Metadata: service.ParentFile().Path()}
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: string(m.Name()), Handler: resources{s, k}.handler(m)})
	}
	return desc
}

func messageName(k *kind) string { return string(k.make().ProtoReflect().Descriptor().Name()) }

// operations are the methods of a kind's service, by their names without the resource.
var operations = map[string]func(r resources, ctx context.Context, q request, answer protoreflect.Message) (proto.Message, error){
	"Get": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		return r.get(ctx, q.text("name"))
	},
	"List": func(r resources, ctx context.Context, q request, answer protoreflect.Message) (proto.Message, error) {
		page, next, err := r.list(ctx, query.Listing{
			Parent: q.text("parent"), Size: int32(q.value("page_size").Int()), Token: q.text("page_token"),
			Filter: q.text("filter"), OrderBy: q.text("order_by"), Deleted: q.flag("show_deleted"),
		})
		if err != nil {
			return nil, err
		}
		list := answer.Mutable(fieldOf(answer.Descriptor(), r.kind)).List()
		for _, one := range page {
			list.Append(protoreflect.ValueOfMessage(one.ProtoReflect()))
		}
		answer.Set(answer.Descriptor().Fields().ByName("next_page_token"), protoreflect.ValueOfString(next))
		return answer.Interface(), nil
	},
	"Create": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		return r.create(ctx, q.resource(r.kind), q.flag("validate_only"))
	},
	"Update": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		mask, _ := q.value("update_mask").Message().Interface().(*fieldmaskpb.FieldMask)
		return r.update(ctx, q.resource(r.kind), mask, q.flag("allow_missing"), q.flag("validate_only"))
	},
	"Delete": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		return r.remove(ctx, q.text("name"), q.text("etag"), q.flag("force"))
	},
	"Undelete": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		return r.undelete(ctx, q.text("name"), q.text("etag"))
	},
	"Reorder": reorderOperation,
	"TestRun": func(r resources, ctx context.Context, q request, _ protoreflect.Message) (proto.Message, error) {
		req, _ := q.Interface().(*provisionv1.TestRunRequest)
		return r.service.provision.TestRun(ctx, req)
	},
	"ReportHealth": func(r resources, ctx context.Context, q request, answer protoreflect.Message) (proto.Message, error) {
		refused, err := r.report(ctx, q.value("reports").List())
		if err != nil {
			return nil, err
		}
		list := answer.Mutable(answer.Descriptor().Fields().ByName("refused")).List()
		for _, name := range refused {
			list.Append(protoreflect.ValueOfString(name))
		}
		return answer.Interface(), nil
	},
}

// operation is the beginning of a method's name.
func operation(m protoreflect.MethodDescriptor, k *kind) string {
	if strings.HasPrefix(string(m.Name()), "List") {
		return "List" // of the plural
	}
	return strings.TrimSuffix(string(m.Name()), messageName(k))
}

// handler serves one method.
func (r resources) handler(m protoreflect.MethodDescriptor) grpc.MethodHandler {
	operation := operations[operation(m, r.kind)]
	in, inErr := protoregistry.GlobalTypes.FindMessageByName(m.Input().FullName())
	out, outErr := protoregistry.GlobalTypes.FindMessageByName(m.Output().FullName())
	if operation == nil || inErr != nil || outErr != nil {
		panic(fmt.Sprintf("config: method %s is none of those of a resource", m.FullName())) // a slip in a .proto, in every test
	}
	return func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		q := in.New()
		if err := decode(q.Interface()); err != nil {
			return nil, err
		}
		return operation(r, ctx, request{q}, out.New())
	}
}

// request is a request by the names of its fields. A field that a kind's request lacks has its zero value.
type request struct{ protoreflect.Message }

var absent = map[protoreflect.Name]protoreflect.Value{
	"parent": protoreflect.ValueOfString(""), "force": protoreflect.ValueOfBool(false),
}

func (q request) value(name protoreflect.Name) protoreflect.Value {
	if f := q.Descriptor().Fields().ByName(name); f != nil {
		return q.Get(f)
	}
	return absent[name]
}

func (q request) text(name protoreflect.Name) string { return q.value(name).String() }
func (q request) flag(name protoreflect.Name) bool   { return q.value(name).Bool() }

// resource is the one in the request; an empty one where it is missing.
func (q request) resource(k *kind) resource {
	given := q.Get(fieldOf(q.Descriptor(), k)).Message()
	if !given.IsValid() {
		return k.make()
	}
	return given.Interface().(resource)
}

// fieldOf is the field of a message that holds the kind's resource, or a list of them.
func fieldOf(d protoreflect.MessageDescriptor, k *kind) protoreflect.FieldDescriptor {
	of := k.make().ProtoReflect().Descriptor().FullName()
	for i := range d.Fields().Len() {
		if f := d.Fields().Get(i); f.Message() != nil && f.Message().FullName() == of {
			return f
		}
	}
	panic(fmt.Sprintf("config: %s has no field of %s", d.FullName(), of)) // a slip in a .proto, in every test
}
