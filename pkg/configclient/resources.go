package configclient

import (
	"iter"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// lists are the fields of a snapshot that hold resources, by the name of their message.
var lists = func() map[protoreflect.FullName]protoreflect.FieldDescriptor {
	out := map[protoreflect.FullName]protoreflect.FieldDescriptor{}
	fields := (*configv1.Snapshot)(nil).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.IsList() && f.Message() != nil {
			out[f.Message().FullName()] = f
		}
	}
	return out
}()

// allLists are all lists, sorted by the names of their messages.
var allLists = slices.Sorted(maps.Keys(lists))

// ordered are the lists in the order in which their unreadable resources are listed.
var ordered = func() []protoreflect.FullName {
	var out []protoreflect.FullName
	for _, m := range []proto.Message{
		&configv1.Tenant{}, &configv1.ClassOfService{}, &configv1.Notification{}, &configv1.User{}, &configv1.EventType{},
	} {
		out = append(out, m.ProtoReflect().Descriptor().FullName())
	}
	for _, k := range kinds {
		out = append(out, k.list)
	}
	return out
}()

// kinds are those of targets, with their lists.
var kinds = func() (out []struct {
	*channel.Kind
	list protoreflect.FullName
}) {
	for _, k := range table.Kinds() {
		out = append(out, struct {
			*channel.Kind
			list protoreflect.FullName
		}{k, k.New().ProtoReflect().Descriptor().FullName()})
	}
	return out
}()

func listOfKind(k *channel.Kind) protoreflect.FullName {
	return k.New().ProtoReflect().Descriptor().FullName()
}

// KindOf is the kind of a target; nil for every other resource.
func KindOf(r proto.Message) *channel.Kind {
	for _, k := range kinds {
		if k.list == r.ProtoReflect().Descriptor().FullName() {
			return k.Kind
		}
	}
	return nil
}

// ListFor is the name of the list that holds a resource in a snapshot; empty where none does.
func ListFor(r proto.Message) string {
	if f := lists[r.ProtoReflect().Descriptor().FullName()]; f != nil {
		return string(f.Name())
	}
	return ""
}

// Resources are the resources of a kind in a snapshot.
func Resources(m *configv1.Snapshot, k *channel.Kind) iter.Seq[channel.Resource] {
	return func(yield func(channel.Resource) bool) {
		list := m.ProtoReflect().Get(lists[k.New().ProtoReflect().Descriptor().FullName()]).List()
		for i := range list.Len() {
			if !yield(list.Get(i).Message().Interface().(channel.Resource)) {
				return
			}
		}
	}
}

// Append puts a resource at the end of its list in a snapshot; false where the snapshot has no list for it.
func Append(into *configv1.Snapshot, r proto.Message) bool {
	m := r.ProtoReflect()
	field := lists[m.Descriptor().FullName()]
	if field == nil {
		return false
	}
	into.ProtoReflect().Mutable(field).List().Append(protoreflect.ValueOfMessage(m))
	return true
}

// appendAll puts the resources of a part behind those of a snapshot.
func appendAll(into, part *configv1.Snapshot) {
	for _, field := range lists {
		from, to := part.ProtoReflect().Get(field).List(), into.ProtoReflect().Mutable(field).List()
		for i := range from.Len() {
			to.Append(from.Get(i))
		}
	}
}
