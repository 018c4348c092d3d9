package manifest

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/profile"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// OfProfiles is the document of a class of service with the options of ready profiles, and what else it has already.
// Apply refuses it where the class was changed meanwhile.
func OfProfiles(ctx context.Context, conn *grpc.ClientConn, name string, profiles []string) ([]Document, error) {
	class, err := stored(ctx, conn, name)
	if err != nil {
		return nil, err
	}
	var all []Document
	var violations Violations
	from := map[protoreflect.Name]string{}
	for _, p := range profiles {
		source, err := profile.Source(p)
		if err != nil {
			violations.add("profile "+p, 0, "%s", err)
			continue
		}
		read, err := Parse("profile "+p, source)
		if err != nil {
			return nil, fmt.Errorf("read profile %s: %w", p, err)
		}
		all = append(all, read...)
		for _, d := range read {
			d.Resource.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				if f.Message() == nil {
					return true // its name, and how it is shown
				}
				if other, ok := from[f.Name()]; ok {
					violations.add("profile "+p, 0, "has %s, as %s has: a class has one", f.Name(), other)
				}
				from[f.Name()] = p
				class.ProtoReflect().Set(f, v)
				return true
			})
		}
	}
	if len(violations) > 0 {
		return nil, violations
	}
	d := all[0]
	if isNew := class.GetMetadata() == nil; isNew && len(all) == 1 {
		class.DisplayName = d.Resource.(*configv1.ClassOfService).GetDisplayName()
	}
	d.Resource = class
	return []Document{d}, nil
}

// stored is the class as it is, or one of that name with nothing in it.
func stored(ctx context.Context, conn *grpc.ClientConn, name string) (*configv1.ClassOfService, error) {
	found, err := kindOf(className).get(ctx, conn, name)
	if fault.KindOf(err) == fault.NotFound {
		return &configv1.ClassOfService{Name: name}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	class := proto.CloneOf(found.(*configv1.ClassOfService))
	class.Metadata = &configv1.Metadata{Etag: class.GetMetadata().GetEtag()}
	return class, nil
}
