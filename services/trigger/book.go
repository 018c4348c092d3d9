package trigger

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/revision"
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
}

// recipient is an endpoint as planning sees it.
type recipient struct {
	id    string // the last part of its name
	draft bool
	form  rules.Endpoint
}

type compiled struct {
	from *configv1.Notification
	rule *rules.Rule
}

// NewBook compiles a snapshot. before is the book of another revision, or nil.
func NewBook(s *revision.Snapshot, before *Book) (*Book, error) {
	notifications := s.Message().GetNotifications()
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
		r := recipient{id: e.ID, draft: e.Status == revision.Draft, form: rules.Endpoint{PersonalData: e.IncludePersonal}}
		if e.Profile == revision.ProfileParameters {
			r.form.Profile = rules.Parameters
		}
		b.endpoints[e.Name] = r
	}
	all, err := compileAll(notifications, before)
	if err != nil {
		return nil, fmt.Errorf("compile revision %d: %w", s.Revision, err)
	}
	for i, n := range notifications {
		b.compiled[n.GetName()] = compiled{from: n, rule: all[i]}
	}
	b.index = rules.NewIndex(all)
	return b, nil
}

// compileAll compiles what changed, on all cores: ten thousand take a second or two on one.
func compileAll(notifications []*configv1.Notification, before *Book) ([]*rules.Rule, error) {
	all := make([]*rules.Rule, len(notifications))
	errs := make([]error, len(notifications))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(notifications); i = int(next.Add(1)) - 1 {
				n := notifications[i]
				if old, ok := before.find(n.GetName()); ok && proto.Equal(old.from, n) {
					all[i] = old.rule
					continue
				}
				if all[i], errs[i] = rules.Compile(rules.FromProto(n)); errs[i] != nil {
					// It was accepted when saved, by a binary that knows more than this one, or less: without it other
					// deliveries would be planned here than there.
					errs[i] = fmt.Errorf("%s: %w", n.GetName(), errs[i])
				}
			}
		})
	}
	workers.Wait()
	return all, errors.Join(errs...)
}

func (b *Book) find(name string) (compiled, bool) {
	if b == nil {
		return compiled{}, false
	}
	c, ok := b.compiled[name]
	return c, ok
}
