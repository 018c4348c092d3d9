package configclient

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

var errEmpty = errors.New("the configuration service sent an empty answer")

// Collect joins the parts of a whole snapshot; each, where not nil, is called after each part.
func Collect(parts grpc.ServerStreamingClient[configv1.SnapshotResponse], each func()) (*configv1.Snapshot, error) {
	var all *configv1.Snapshot
	for {
		next, err := parts.Recv()
		switch {
		case errors.Is(err, io.EOF) && all == nil:
			return nil, errEmpty
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		if each != nil {
			each()
		}
		if all == nil {
			all = next.GetSnapshot()
			continue
		}
		appendAll(all, next.GetSnapshot())
	}
}

// gather makes a revision of an answer, which may be what differs from base, nil where none was named.
func (f form) gather(parts grpc.ServerStreamingClient[configv1.SnapshotResponse], base *Snapshot, each func()) (*Snapshot, error) {
	var head *configv1.Snapshot
	var since *configv1.Position
	var got changes
	for {
		next, err := parts.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		each()
		if head == nil {
			head, since = headOf(next.GetSnapshot()), next.GetSince()
		}
		for _, name := range next.GetRemoved() {
			got.remove(name)
		}
		lean(next.GetSnapshot())
		if err := got.add(next.GetSnapshot()); err != nil {
			return nil, err
		}
	}
	switch {
	case head == nil:
		return nil, errEmpty
	case since == nil:
		base = nil
	case base == nil || since.GetRevision() != base.Revision || since.GetHistory() != base.History:
		return nil, errors.New("the configuration service sent what differs from a revision that it was not asked for")
	}
	return f.snapshot(head, base, &got)
}

// headOf is a snapshot without its lists.
func headOf(m *configv1.Snapshot) *configv1.Snapshot {
	return &configv1.Snapshot{
		Revision: m.GetRevision(), History: m.GetHistory(), ApplyRevision: m.GetApplyRevision(), StandsIn: m.GetStandsIn(),
	}
}

// snapshot is a revision with what changed since before, which is nil where that is all.
func (f form) snapshot(head *configv1.Snapshot, before *Snapshot, c *changes) (*Snapshot, error) {
	s := newSnapshot(head)
	for kind, field := range lists {
		var was *list
		if before != nil {
			was = before.lists[kind]
		}
		is, err := c.apply(field, was, f.read)
		if err != nil {
			return nil, err
		}
		if is != nil {
			s.lists[kind] = is
		}
	}
	s.derive(before)
	return s, nil
}

// read decodes a part.
func (f form) read(body []byte) (*part, error) {
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("read a part of the configuration: %w", err)
	}
	p := &part{body: body, content: f.decode(m)}
	if f.address != nil {
		p.address = f.address(body)
	}
	return p, nil
}

// listOf is the list that the body of a part belongs to, and its bucket there.
func listOf(body []byte) (kind protoreflect.FullName, bucket uint8, err error) {
	number, _, n := protowire.ConsumeTag(body)
	if n < 0 {
		return "", 0, protowire.ParseError(n)
	}
	for kind, field := range lists {
		if field.Number() != number {
			continue
		}
		first, n := protowire.ConsumeBytes(body[n:])
		if n < 0 {
			return "", 0, protowire.ParseError(n)
		}
		r := dynamic(field)
		if err := proto.Unmarshal(first, r); err != nil {
			return "", 0, err
		}
		return kind, bucketOf(nameOf(r)), nil
	}
	return "", 0, fmt.Errorf("a part of the configuration has field %d, which is no list", number)
}

// dynamic is a new resource of a list.
func dynamic(field protoreflect.FieldDescriptor) proto.Message {
	return (&configv1.Snapshot{}).ProtoReflect().NewField(field).List().NewElement().Message().Interface()
}
