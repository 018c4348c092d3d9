package trigger

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/rules"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Book is what planning reads of one revision of the configuration. It is immutable and shared by all partitions.
type Book struct {
	Revision  int64
	index     *rules.Index
	endpoints map[string]recipient // by resource name
	tenants   map[string]string    // id -> display name
	// compiled is by resource name, for the next book: a notification that didn't change isn't compiled again.
	compiled map[string]compiled
	// faults are active notifications that this binary can't compile: they are inactive in this revision.
	faults []configclient.Fault
}

// recipient is an endpoint as planning sees it.
type recipient struct {
	id    string // the last part of its name
	draft bool
	form  rules.Endpoint
}

// compiled is an active notification: its rule, or why there is none.
type compiled struct {
	from *configv1.Notification
	rule *rules.Rule
	err  error
}

// NewBook compiles a snapshot. before is the book of another revision, or nil.
func NewBook(s *configclient.Snapshot, before *Book) *Book {
	notifications := slices.DeleteFunc(slices.Clone(s.Message().GetNotifications()), func(n *configv1.Notification) bool { return !n.GetActive() })
	b := &Book{
		Revision:  s.Revision,
		endpoints: make(map[string]recipient, len(s.Endpoints())),
		tenants:   make(map[string]string, len(s.Tenants())),
		compiled:  make(map[string]compiled, len(notifications)),
	}
	for _, t := range s.Tenants() {
		b.tenants[t.ID] = t.DisplayName
	}
	for _, e := range s.Endpoints() {
		r := recipient{id: e.ID, draft: e.Status == configclient.Draft || e.Profile == configclient.ProfileUnknown, form: rules.Endpoint{PersonalData: e.IncludePersonal}}
		if e.Profile == configclient.ProfileParameters {
			r.form.Profile = rules.Parameters
		}
		b.endpoints[e.Name] = r
	}
	var usable []*rules.Rule
	for _, c := range compileAll(notifications, before) {
		b.compiled[c.from.GetName()] = c
		if c.err != nil {
			b.faults = append(b.faults, configclient.Fault{Name: c.from.GetName(), Err: c.err})
			continue
		}
		usable = append(usable, c.rule)
	}
	b.index = rules.NewIndex(usable)
	return b
}

// compileAll compiles what changed, on all cores: ten thousand take a second or two on one.
func compileAll(notifications []*configv1.Notification, before *Book) []compiled {
	all := make([]compiled, len(notifications))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(notifications); i = int(next.Add(1)) - 1 {
				n := notifications[i]
				if old, ok := before.find(n.GetName()); ok && proto.Equal(old.from, n) {
					all[i] = old
					continue
				}
				all[i].from = n
				all[i].rule, all[i].err = rules.Compile(rules.FromProto(n))
			}
		})
	}
	workers.Wait()
	return all
}

func (b *Book) find(name string) (compiled, bool) {
	if b == nil {
		return compiled{}, false
	}
	c, ok := b.compiled[name]
	return c, ok
}
