package access

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func grant(entity string, all ...configv1.QueueOperation) *configv1.QueueGrant {
	return &configv1.QueueGrant{Entity: entity, Operations: all}
}

const (
	created = configv1.QueueOperation_QUEUE_OPERATION_CREATE
	updated = configv1.QueueOperation_QUEUE_OPERATION_UPDATE
	deleted = configv1.QueueOperation_QUEUE_OPERATION_DELETE
	other   = configv1.QueueOperation_QUEUE_OPERATION_OTHER
)

func TestGrants_AllowExactlyWhatIsNamed(t *testing.T) {
	g := GrantsOf([]*configv1.QueueGrant{grant("client", created, deleted), grant("usage", other), grant("empty"), grant("client", updated), grant("newer", 77, 0)})
	allowed := map[string]map[event.Operation]bool{
		"client": {event.Create: true, event.Update: true, event.Delete: true},
		"usage":  {event.Other: true},
	}
	for _, entity := range []string{"client", "usage", "empty", "newer", "invoice", "", "Client", "*"} {
		for _, op := range []event.Operation{event.Other, event.Create, event.Update, event.Delete, 9} {
			if got := g.Allows(entity, op); got != allowed[entity][op] {
				t.Errorf("%q %d: %v", entity, op, got)
			}
			if (Grants{}).Allows(entity, op) {
				t.Errorf("no grants allow %q %d", entity, op)
			}
			if !AllGrants().Allows(entity, op) {
				t.Errorf("all grants deny %q %d", entity, op)
			}
		}
	}
}

// Each type of the catalog is granted by exactly one operation of its entity.
func TestGrants_HaveAnOperationForEveryTypeOfTheCatalog(t *testing.T) {
	for _, typ := range event.Types() {
		n := 0
		for _, o := range []configv1.QueueOperation{created, updated, deleted, other} {
			if GrantsOf([]*configv1.QueueGrant{grant(typ.Entity, o)}).Allows(typ.Entity, typ.Operation) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is granted by %d operations", typ.Name, n)
		}
	}
}

func TestRights_Cover(t *testing.T) {
	base := &configv1.ApiKey{Scopes: []configv1.ApiKeyScope{Publish, Rules}, QueueGrants: []*configv1.QueueGrant{grant("client", created)}, ContactFields: true}
	for name, c := range map[string]struct {
		other *configv1.ApiKey
		want  bool
	}{
		"the same":          {base, true},
		"nothing":           {&configv1.ApiKey{}, true},
		"less":              {&configv1.ApiKey{Scopes: []configv1.ApiKeyScope{Rules}}, true},
		"another scope":     {&configv1.ApiKey{Scopes: []configv1.ApiKeyScope{Tests}}, false},
		"another operation": {&configv1.ApiKey{QueueGrants: []*configv1.QueueGrant{grant("client", updated)}}, false},
		"another entity":    {&configv1.ApiKey{QueueGrants: []*configv1.QueueGrant{grant("invoice", created)}}, false},
		"personal fields":   {&configv1.ApiKey{PersonalFields: true}, false},
	} {
		if got := RightsOf(base).Covers(RightsOf(c.other)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	key := &Caller{Key: &Key{Tenant: "a", Rights: RightsOf(base)}}
	if key.Gives(Rights{Scopes: ScopesOf(Tests)}) || !key.Gives(RightsOf(base)) {
		t.Error("a key gives other rights than its own")
	}
	if everything := (Rights{Scopes: ^Scopes(0), Grants: AllGrants(), Contact: true, Personal: true}); !(&Caller{Operator: true}).Gives(everything) || (&Caller{Service: true}).Gives(Rights{Contact: true}) {
		t.Error("an operator gives everything, a service nothing")
	}
}

func TestCaller_NobodyMayDoAnything(t *testing.T) {
	for name, c := range map[string]*Caller{"nil": nil, "zero": {}, "service": {Service: true}} {
		for s := range configv1.ApiKeyScope_name {
			if c.Has(Scope(s)) {
				t.Errorf("%s has %s", name, Scope(s))
			}
		}
		if c.Allows("client", event.Create) || c.SeesContact() || c.SeesPersonal() || name != "service" && c.Reaches("a") {
			t.Errorf("%s may read", name)
		}
	}
	if (&Caller{Key: &Key{}}).Reaches("") {
		t.Error("a key without a tenant reaches what has none")
	}
}

func TestDecode_ReadsAKey(t *testing.T) {
	hash := HashOf("tg_x")
	m := &configv1.ApiKey{
		Name: "tenants/a/apiKeys/erp", SecretHash: hash[:], Scopes: []configv1.ApiKeyScope{Publish, 0, 4711},
		ExpireTime: timestamppb.New(time.Unix(100, 0)), PersonalFields: true,
	}
	k, err := Decode(m)
	if err != nil {
		t.Fatal(err)
	}
	if k.Tenant != "a" || k.Hash != hash || k.Rights.Scopes != ScopesOf(Publish) || !k.Rights.Personal || k.Rights.Contact ||
		k.Expired(time.Unix(99, 0)) || !k.Expired(time.Unix(100, 0)) {
		t.Errorf("%+v", k)
	}
	for name, change := range map[string]func(m *configv1.ApiKey){
		"no hash":    func(m *configv1.ApiKey) { m.SecretHash = nil },
		"short hash": func(m *configv1.ApiKey) { m.SecretHash = hash[:5] },
		"no tenant":  func(m *configv1.ApiKey) { m.Name = "tenants//apiKeys/erp" },
		"no name":    func(m *configv1.ApiKey) { m.Name = "" },
		"a time that is none": func(m *configv1.ApiKey) {
			m.ExpireTime = &timestamppb.Timestamp{Seconds: 1 << 60}
		},
	} {
		bad := &configv1.ApiKey{Name: m.Name, SecretHash: m.SecretHash}
		change(bad)
		if _, err := Decode(bad); err == nil {
			t.Errorf("%s is read", name)
		}
	}
}
