package trigger

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

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
	// id is the last part of its name.
	id    string
	draft bool
	form  rules.Endpoint
}

type compiled struct {
	from *configv1.Notification
	rule *rules.Rule
}

// NewBook compiles a snapshot. before is the book of another revision, or nil.
func NewBook(s *configv1.Snapshot, before *Book) (*Book, error) {
	b := &Book{
		Revision:  s.GetRevision(),
		endpoints: make(map[string]recipient, len(s.GetEndpoints())),
		tenants:   make(map[string]string, len(s.GetTenants())),
		compiled:  make(map[string]compiled, len(s.GetNotifications())),
	}
	for _, t := range s.GetTenants() {
		b.tenants[strings.TrimPrefix(t.GetName(), "tenants/")] = t.GetDisplayName()
	}
	for _, e := range s.GetEndpoints() {
		r := recipient{
			id:    e.GetName()[strings.LastIndexByte(e.GetName(), '/')+1:],
			draft: e.GetStatus() == configv1.EndpointStatus_ENDPOINT_STATUS_DRAFT,
			form:  rules.Endpoint{PersonalData: e.GetPersonalData() == configv1.PersonalData_PERSONAL_DATA_INCLUDE},
		}
		if e.GetProfile() == configv1.PayloadProfile_PAYLOAD_PROFILE_PARAMETERS {
			r.form.Profile = rules.Parameters
		}
		b.endpoints[e.GetName()] = r
	}
	all := make([]*rules.Rule, 0, len(s.GetNotifications()))
	for _, n := range s.GetNotifications() {
		c := compiled{from: n}
		if old, ok := before.find(n.GetName()); ok && proto.Equal(old.from, n) {
			c.rule = old.rule
		} else {
			rule, err := rules.Compile(rules.FromProto(n))
			if err != nil {
				// It was accepted when saved, by a binary that knows more than this one, or less: without it other
				// deliveries would be planned here than there.
				return nil, fmt.Errorf("compile %s of revision %d: %w", n.GetName(), s.GetRevision(), err)
			}
			c.rule = rule
		}
		b.compiled[n.GetName()] = c
		all = append(all, c.rule)
	}
	b.index = rules.NewIndex(all)
	return b, nil
}

func (b *Book) find(name string) (compiled, bool) {
	if b == nil {
		return compiled{}, false
	}
	c, ok := b.compiled[name]
	return c, ok
}
