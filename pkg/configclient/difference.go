package configclient

import (
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel/table"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// A revision is read as what differs from the one that was read before it. Of 100,000 resources a change then costs the
// service and its reader the one that changed, and a walk over the rest.

// collect joins the parts of a snapshot that may be a difference from a base, which is nil where none was named; each, where
// not nil, is called after each part.
func collect(parts grpc.ServerStreamingClient[configv1.SnapshotResponse], base *configv1.Snapshot, each func()) (*configv1.Snapshot, error) {
	var all *configv1.Snapshot
	var since *configv1.Position
	removed := map[string]bool{}
	for {
		part, err := parts.Recv()
		switch {
		case errors.Is(err, io.EOF) && all != nil && since != nil:
			return applied(base, since, all, removed)
		case errors.Is(err, io.EOF) && all != nil:
			return all, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("the configuration service sent an empty answer")
		case err != nil:
			return nil, err
		}
		if each != nil {
			each()
		}
		for _, name := range part.GetRemoved() {
			removed[name] = true
		}
		p := part.GetSnapshot()
		if all == nil {
			all, since = p, part.GetSince()
			continue
		}
		appendAll(all, p)
	}
}

// applied is a base with what differs from it. Lists in which nothing differs are shared with the base.
func applied(base *configv1.Snapshot, since *configv1.Position, differs *configv1.Snapshot, removed map[string]bool) (*configv1.Snapshot, error) {
	if base == nil || since.GetRevision() != base.GetRevision() || since.GetHistory() != base.GetHistory() {
		return nil, errors.New("the configuration service sent what differs from a revision that it was not asked for")
	}
	for _, field := range lists {
		had, has := base.ProtoReflect().Get(field).List(), differs.ProtoReflect().Get(field).List()
		switch {
		case had.Len() == 0:
			continue
		case has.Len() == 0 && !anyOf(had, removed):
			differs.ProtoReflect().Set(field, base.ProtoReflect().Get(field))
			continue
		}
		merged := differs.ProtoReflect().NewField(field)
		merge(merged.List(), had, has, removed)
		differs.ProtoReflect().Set(field, merged)
	}
	return differs, nil
}

func anyOf(list protoreflect.List, names map[string]bool) bool {
	if len(names) == 0 {
		return false
	}
	for i := range list.Len() {
		if names[nameOf(list.Get(i))] {
			return true
		}
	}
	return false
}

func nameOf(v protoreflect.Value) string {
	return v.Message().Interface().(interface{ GetName() string }).GetName()
}

// merge puts two lists into one in the order of names: of two resources with one name the second's, and of the first's none
// that was removed.
func merge(into, first, second protoreflect.List, removed map[string]bool) {
	i := 0
	for n := range second.Len() {
		next := second.Get(n)
		name := nameOf(next)
		for ; i < first.Len(); i++ {
			old := nameOf(first.Get(i))
			if order := strings.Compare(old, name); order > 0 {
				break
			} else if order < 0 && !removed[old] {
				into.Append(first.Get(i))
			}
		}
		into.Append(next)
	}
	for ; i < first.Len(); i++ {
		if v := first.Get(i); len(removed) == 0 || !removed[nameOf(v)] {
			into.Append(v)
		}
	}
}

// base is the newest snapshot that the service sent: what the next one is asked as a difference from. nil before the first.
func (s *Source) base() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// unchanged finds in an earlier snapshot what was decoded of the same message.
func (s *Snapshot) unchanged(m protoreflect.ProtoMessage, name string) *Target {
	if s == nil {
		return nil
	}
	if t := s.targets[name]; t != nil && t.message == m {
		return t
	}
	return nil
}

// lean leaves out of each part what no follower reads: the metadata of targets, a third of what 100,000 of them take in memory.
type lean struct {
	grpc.ServerStreamingClient[configv1.SnapshotResponse]
}

func (l lean) Recv() (*configv1.SnapshotResponse, error) {
	part, err := l.ServerStreamingClient.Recv()
	if err != nil {
		return nil, err
	}
	for _, k := range table.Kinds() {
		metadata := k.New().ProtoReflect().Descriptor().Fields().ByName("metadata")
		for r := range Resources(part.GetSnapshot(), k) {
			r.ProtoReflect().Clear(metadata)
		}
	}
	return part, nil
}
