package trigger

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/rules"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Book is what planning reads of one revision of the configuration. It is immutable and shared by all partitions.
type Book struct {
	Revision int64
	snapshot *configclient.Snapshot
	index    *rules.Index
	tenants  map[string]*tenant // by id
	declared map[string]*declared
	// known are all notifications, active or not.
	known map[notificationKey]*configv1.Notification
	// compiled is by resource name, for the next book: a notification that didn't change isn't compiled again.
	compiled map[string]compiled
	// unreadable are active notifications that this binary can't compile: they are inactive in this revision.
	unreadable []configclient.Unreadable
	active     int // notifications
}

// notificationKey names a notification.
type notificationKey struct{ tenant, code string }

// target is one as planning reads it.
type target struct {
	channel.Planning
	name string
}

// compiled is a notification that is active or keeps a state: its rule, or why there is none.
type compiled struct {
	from *configv1.Notification
	rule *rules.Rule
	err  error
}

// NewBook compiles a snapshot. before is the book of another revision, or nil.
func NewBook(s *configclient.Snapshot, before *Book) *Book {
	notifications := slices.DeleteFunc(slices.Clone(s.Notifications()), func(n *configv1.Notification) bool {
		return !n.GetActive() && !rules.HasState(n)
	})
	b := &Book{
		Revision: s.Revision,
		snapshot: s,
		tenants:  make(map[string]*tenant, len(s.Tenants())),
		declared: map[string]*declared{},
		compiled: make(map[string]compiled, len(notifications)),
		known:    make(map[notificationKey]*configv1.Notification, len(s.Notifications())),
	}
	for _, n := range s.Notifications() {
		tenant, code := channel.SplitName(n.GetName(), "notifications")
		b.known[notificationKey{tenant, code}] = n
	}
	for _, t := range s.Tenants() {
		b.tenants[t.ID] = newTenant(t, s.Users(t.ID))
		if types := s.EventTypes(t.ID); len(types) > 0 {
			b.declared[t.ID] = declare(types, before.declaredBy(t.ID))
			b.unreadable = append(b.unreadable, b.declared[t.ID].unreadable...)
		}
	}
	var usable []*rules.Rule
	for _, c := range b.compileAll(notifications, before) {
		b.compiled[c.from.GetName()] = c
		if c.from.GetActive() {
			b.active++
		}
		if c.err != nil {
			if c.from.GetActive() {
				b.unreadable = append(b.unreadable, configclient.Unreadable{Name: c.from.GetName(), Err: c.err})
			}
			continue
		}
		usable = append(usable, c.rule)
	}
	for _, t := range s.Tenants() {
		for _, r := range builtIn() {
			usable = append(usable, r.For(t.ID))
		}
	}
	b.index = rules.NewIndex(usable)
	return b
}

// compileAll compiles what changed, on all cores: ten thousand take a second or two on one.
func (b *Book) compileAll(notifications []*configv1.Notification, before *Book) []compiled {
	all := make([]compiled, len(notifications))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(notifications); i = int(next.Add(1)) - 1 {
				n := notifications[i]
				tenant, _ := channel.SplitName(n.GetName(), "notifications")
				if old, ok := before.find(n.GetName()); ok && proto.Equal(old.from, n) && rules.Unchanged(n, before.typesOf(tenant), b.typesOf(tenant)) {
					all[i] = old
					continue
				}
				all[i].from = n
				all[i].rule, all[i].err = rules.Compile(b.written(n, table.Channels))
			}
		})
	}
	workers.Wait()
	return all
}

// target finds a target by its resource name.
func (b *Book) target(name string) (target, bool) {
	t, ok := b.snapshot.Target(name)
	if !ok {
		return target{}, false
	}
	return target{Planning: t.Value.Planning(), name: t.Name}, true
}

func (b *Book) declaredBy(tenant string) *declared {
	if b == nil {
		return nil
	}
	return b.declared[tenant]
}

func (b *Book) find(name string) (compiled, bool) {
	if b == nil {
		return compiled{}, false
	}
	c, ok := b.compiled[name]
	return c, ok
}
