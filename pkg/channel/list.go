package channel

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// List is a list of channels. The product's is in package table; tests have others.
type List []*Channel

// Of finds the channel of an action and reads its part. Both are nil where the action has none of the list.
func (l List) Of(a *configv1.Action) (*Channel, Action) {
	m := a.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("action"))
	if field == nil {
		return nil, nil
	}
	i := slices.IndexFunc(l, func(c *Channel) bool { return c.Name == string(field.Name()) })
	if i < 0 {
		return nil, nil
	}
	return l[i], l[i].Decode(m.Get(field).Message().Interface())
}

// Target is the resource name of the target of an action; empty where the action has no channel of the list.
func (l List) Target(a *configv1.Action) string {
	if _, part := l.Of(a); part != nil {
		return part.Target()
	}
	return ""
}

// Served are the channels that have a service.
func (l List) Served() List {
	return slices.DeleteFunc(slices.Clone(l), func(c *Channel) bool { return !c.Served() })
}

// Names are the names of the channels.
func (l List) Names() []string {
	names := make([]string, len(l))
	for i, c := range l {
		names[i] = c.Name
	}
	return names
}

// Kinds are the kinds of the channels' targets, each once.
func (l List) Kinds() []*Kind {
	var kinds []*Kind
	for _, c := range l {
		if c.Served() && !slices.Contains(kinds, c.Target) {
			kinds = append(kinds, c.Target)
		}
	}
	return kinds
}

// KindOf is the kind of a resource; nil where it is no target.
func (l List) KindOf(r proto.Message) *Kind {
	name := r.ProtoReflect().Descriptor().Name()
	for _, k := range l.Kinds() {
		if k.Name == string(name) {
			return k
		}
	}
	return nil
}

// settings are the environment variables of a channel's service: where it is, and what bounds its deliveries.
var settings = []string{
	"TOLLGATE_%s_ACCEPT_LOST_DELIVERIES", "TOLLGATE_%s_ADDR", "TOLLGATE_%s_IN_FLIGHT", "TOLLGATE_%s_MAX_AGE",
	"TOLLGATE_%s_UNRECORDED_RESULTS_MAX", "TOLLGATE_%s_WAITING_MAX",
}

// Variables are the environment variables of the channels' services.
func (l List) Variables() []string {
	var all []string
	for _, c := range l.Served() {
		for _, s := range settings {
			all = append(all, fmt.Sprintf(s, strings.ToUpper(c.Name)))
		}
	}
	return all
}
