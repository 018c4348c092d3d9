package configclient

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/channel/table"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// A revision is made of parts that do not change: the resources of one list whose names fall into one bucket. The next revision
// shares all but those in which something changed, in memory and in the store, so that a change costs what is in its part,
// however many resources there are.

// buckets of each list. A part of 100,000 resources has some 400.
const buckets = 256

func bucketOf(name string) uint8 { return uint8(xxhash.Sum64String(name)) }

// part is immutable.
type part struct {
	// body is a Snapshot with these resources alone, sorted by name; address is what that yields, empty without a store.
	body    []byte
	address string
	content
}

// list has nil for each bucket that is empty.
type list [buckets]*part

// entry is one resource, encoded; nil for one that was removed.
type entry struct {
	name string
	body []byte
}

// changes are resources by their lists and buckets.
type changes struct {
	set     map[protoreflect.FullName]*[buckets][]entry
	removed [buckets][]string
}

// add takes resources of a message.
func (c *changes) add(m *configv1.Snapshot) error {
	for kind, field := range lists {
		resources := m.ProtoReflect().Get(field).List()
		for i := range resources.Len() {
			r := resources.Get(i).Message().Interface()
			name := nameOf(r)
			body, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
			if err != nil {
				return fmt.Errorf("encode %s: %w", name, err)
			}
			if c.set == nil {
				c.set = map[protoreflect.FullName]*[buckets][]entry{}
			}
			if c.set[kind] == nil {
				c.set[kind] = &[buckets][]entry{}
			}
			b := bucketOf(name)
			c.set[kind][b] = append(c.set[kind][b], entry{name, body})
		}
	}
	return nil
}

func (c *changes) remove(name string) {
	b := bucketOf(name)
	c.removed[b] = append(c.removed[b], name)
}

func nameOf(m proto.Message) string { return m.(interface{ GetName() string }).GetName() }

// apply makes the parts of a list; those in which nothing changed are the same. nil where the list is empty.
func (c *changes) apply(field protoreflect.FieldDescriptor, before *list, read func([]byte) (*part, error)) (*list, error) {
	set := c.set[field.Message().FullName()]
	var out *list
	for b := range buckets {
		var changed []entry
		if set != nil {
			changed = set[b]
		}
		var was *part
		if before != nil {
			was = before[b]
		}
		if len(changed) == 0 && (was == nil || len(c.removed[b]) == 0) {
			continue
		}
		body, err := merged(field, was, changed, c.removed[b])
		if set != nil {
			set[b] = nil // of a whole revision it is as much as the revision
		}
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = &list{}
			if before != nil {
				*out = *before
			}
		}
		out[b] = nil
		if len(body) > 0 {
			if out[b], err = read(body); err != nil {
				return nil, err
			}
		}
	}
	if out == nil {
		return before, nil
	}
	return out, nil
}

// merged is the body of a part with what changed.
func merged(field protoreflect.FieldDescriptor, was *part, changed []entry, removed []string) ([]byte, error) {
	all, err := was.entries(field)
	if err != nil {
		return nil, err
	}
	gone := map[string]bool{}
	for _, name := range removed {
		gone[name] = true
	}
	for _, e := range changed {
		gone[e.name] = true
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return gone[e.name] })
	all = append(all, changed...)
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	size := 0
	for _, e := range all {
		size += protowire.SizeTag(field.Number()) + protowire.SizeBytes(len(e.body))
	}
	body := make([]byte, 0, size)
	for _, e := range all {
		body = protowire.AppendTag(body, field.Number(), protowire.BytesType)
		body = protowire.AppendBytes(body, e.body)
	}
	return body, nil
}

// entries takes a part apart.
func (p *part) entries(field protoreflect.FieldDescriptor) (all []entry, err error) {
	if p == nil {
		return nil, nil
	}
	m := &configv1.Snapshot{}
	if err := proto.Unmarshal(p.body, m); err != nil {
		return nil, fmt.Errorf("read a part: %w", err)
	}
	resources := m.ProtoReflect().Get(field).List()
	rest := p.body
	for i := range resources.Len() {
		_, _, n := protowire.ConsumeTag(rest)
		body, size := protowire.ConsumeBytes(rest[max(n, 0):])
		if n < 0 || size < 0 {
			return nil, fmt.Errorf("read a part: %w", protowire.ParseError(min(n, size)))
		}
		all = append(all, entry{nameOf(resources.Get(i).Message().Interface()), body})
		rest = rest[n+size:]
	}
	return all, nil
}

// lean leaves out what no follower reads: the metadata of targets, a third of what they take.
func lean(m *configv1.Snapshot) {
	for _, k := range table.Kinds() {
		metadata := k.New().ProtoReflect().Descriptor().Fields().ByName("metadata")
		for r := range Resources(m, k) {
			r.ProtoReflect().Clear(metadata)
		}
	}
}
