package schema

import (
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Package is before the name of each type in the name of its message.
const Package = "custom"

// build makes the message of a declaration that is valid. It has the syntax of proto2, by which a field knows whether it is
// there, and its fields are named in JSON as they are declared.
func build(name string, fields []*configv1.EventField) (*Schema, error) {
	dot := strings.LastIndexByte(name, '.')
	file := &descriptorpb.FileDescriptorProto{
		Name:        proto.String(Package + "/" + strings.ReplaceAll(name, ".", "/") + ".proto"),
		Package:     proto.String(Package + "." + name[:dot]),
		Syntax:      proto.String("proto2"),
		Dependency:  []string{moneyFile, timestampFile},
		MessageType: []*descriptorpb.DescriptorProto{messageOf(name[dot+1:], fields)},
	}
	d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		return nil, fmt.Errorf("make a message of the fields: %w", err)
	}
	root := d.Messages().Get(0)
	return &Schema{root: bind(fields, root), message: dynamicpb.NewMessageType(root)}, nil
}

var (
	moneyFile     = (*money.Money)(nil).ProtoReflect().Descriptor().ParentFile().Path()
	timestampFile = (*timestamppb.Timestamp)(nil).ProtoReflect().Descriptor().ParentFile().Path()
)

// nested begins the name of the message of an object: no field's name does.
const nested = "_"

func messageOf(name string, fields []*configv1.EventField) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	for i, f := range fields {
		d := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(f.GetName()), JsonName: proto.String(f.GetName()), Number: proto.Int32(int32(i + 1)),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if f.GetRepeated() {
			d.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		mark := &eventv1.FieldMark{Personal: f.GetPersonal(), Contact: f.GetContact()}
		switch f.GetKind() {
		case configv1.FieldKind_FIELD_KIND_TEXT:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
		case configv1.FieldKind_FIELD_KIND_INTEGER:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum()
		case configv1.FieldKind_FIELD_KIND_NUMBER:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE.Enum()
		case configv1.FieldKind_FIELD_KIND_BOOLEAN:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum()
		case configv1.FieldKind_FIELD_KIND_OBJECT:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
			m.NestedType = append(m.NestedType, messageOf(nested+f.GetName(), f.GetFields()))
			d.TypeName = proto.String(nested + f.GetName())
		case configv1.FieldKind_FIELD_KIND_MONEY:
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
			d.TypeName = proto.String(".google.type.Money")
		default:
			mark.Date = f.GetKind() == configv1.FieldKind_FIELD_KIND_DATE
			d.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
			d.TypeName = proto.String(".google.protobuf.Timestamp")
		}
		if mark.GetPersonal() || mark.GetContact() || mark.GetDate() {
			d.Options = &descriptorpb.FieldOptions{}
			proto.SetExtension(d.Options, eventv1.E_Field, mark)
		}
		m.Field = append(m.Field, d)
	}
	return m
}

// bind joins declared fields and those of their message.
func bind(fields []*configv1.EventField, m protoreflect.MessageDescriptor) *Object {
	o := &Object{byName: make(map[string]*Field, len(fields)), Message: m}
	for i, f := range fields {
		one := &Field{EventField: f, D: m.Fields().ByNumber(protoreflect.FieldNumber(i + 1))}
		if f.GetKind() == configv1.FieldKind_FIELD_KIND_OBJECT {
			one.Inner = bind(f.GetFields(), one.D.Message())
		}
		o.Fields = append(o.Fields, one)
		o.byName[f.GetName()] = one
	}
	return o
}
