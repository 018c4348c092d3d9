package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

func aUser(id string) *configv1.User {
	return &configv1.User{
		Name: "tenants/acme/users/" + id, DisplayName: "Jane Doe", Address: "jane@example.com", Language: "de-CH", TimeZone: "Europe/Zurich", Roles: []string{"admin", "noc"},
	}
}

// fields are those that violations name.
func fields(err error) (all []string) {
	for _, v := range fault.ViolationsOf(err) {
		all = append(all, v.Field)
	}
	return all
}

func TestUser_IsKeptAndIsRead(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	before := r.snapshot(0).GetApplyRevision()
	must[*configv1.User](t)(r.users.CreateUser(t.Context(), &configv1.CreateUserRequest{User: aUser("jane")}))
	s := r.snapshot(0)
	if len(s.GetUsers()) != 1 || s.GetUsers()[0].GetAddress() != "jane@example.com" || s.GetApplyRevision() != before+1 {
		t.Errorf("%v, applied %d after %d", s.GetUsers(), s.GetApplyRevision(), before)
	}
	_, err := r.tenants.DeleteTenant(t.Context(), &configv1.DeleteTenantRequest{Name: "tenants/acme"})
	refused(t, err, fault.Conflict, "TENANT_IN_USE")
	must[*configv1.User](t)(r.users.DeleteUser(t.Context(), &configv1.DeleteUserRequest{Name: "tenants/acme/users/jane"}))
	if s := r.snapshot(0); len(s.GetUsers()) != 0 {
		t.Error("deleted and still there")
	}
	must[*configv1.User](t)(r.users.UndeleteUser(t.Context(), &configv1.UndeleteUserRequest{Name: "tenants/acme/users/jane"}))
}

func TestUser_EveryFaultIsListed(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	create := func(u *configv1.User) error {
		_, err := r.users.CreateUser(t.Context(), &configv1.CreateUserRequest{User: u})
		return err
	}
	err := create(&configv1.User{
		Name: "tenants/acme/users/x", DisplayName: strings.Repeat("ä", 201), Address: "jane@example.com\r\nBcc: all@example.com",
		Language: "not a language", TimeZone: "Local", Roles: []string{"NOC", "noc", "noc", ""},
	})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	want := []string{"user.address", "user.language", "user.time_zone", "user.roles[0]", "user.roles[2]", "user.roles[3]", "user.display_name"}
	if diff := cmp.Diff(want, fields(err)); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, change := range map[string]func(*configv1.User){
		"no address":               func(u *configv1.User) { u.Address = "" },
		"two addresses":            func(u *configv1.User) { u.Address = "a@example.com, b@example.com" },
		"a name beside it":         func(u *configv1.User) { u.Address = "Jane <jane@example.com>" },
		"an address that is long":  func(u *configv1.User) { u.Address = strings.Repeat("a", 65) + "@example.com" },
		"a field past its bound":   func(u *configv1.User) { u.Address = strings.Repeat("a", 321) },
		"a language past its":      func(u *configv1.User) { u.Language = "en-" + strings.Repeat("x", 40) },
		"a zone past its":          func(u *configv1.User) { u.TimeZone = strings.Repeat("z", 65) },
		"a role past its":          func(u *configv1.User) { u.Roles = []string{strings.Repeat("r", 64)} },
		"too many roles":           func(u *configv1.User) { u.Roles = many(21) },
		"a tenant that is no more": func(u *configv1.User) { u.Name = "tenants/none/users/x" },
	} {
		u := aUser("y")
		change(u)
		err := create(u)
		refused(t, err, fault.Invalid, "CONFIG_INVALID")
		if n := len(fault.ViolationsOf(err)); n != 1 {
			t.Errorf("%s: %d violations: %v", name, n, err)
		}
	}
	full := aUser("full")
	full.DisplayName, full.Roles = strings.Repeat("ä", 200), many(20)
	full.Address = `"quoted, and with blanks"@bücher.example`
	if err := create(full); err != nil {
		t.Error(err)
	}
	refused(t, create(&configv1.User{Name: "tenants/acme/users/Ä"}), fault.Invalid, "NAME_INVALID")
}

func many(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("role-%d", i))
	}
	return all
}

func TestTenant_TimeZoneIsChecked(t *testing.T) {
	t.Parallel()
	r := start(t)
	for zone, ok := range map[string]bool{"": true, "Europe/Zurich": true, "Local": false, "Mars/Olympus": false, strings.Repeat("x", 65): false} {
		_, err := r.tenants.UpdateTenant(t.Context(), &configv1.UpdateTenantRequest{AllowMissing: true, Tenant: &configv1.Tenant{Name: "tenants/acme", TimeZone: zone}})
		if (err == nil) != ok {
			t.Errorf("%q: %v", zone, err)
		}
	}
}

// suppression is one of an address that needs no escape but of its "@".
func suppression(address string) *configv1.Suppression {
	return &configv1.Suppression{Name: "tenants/acme/suppressions/" + strings.ReplaceAll(address, "@", "%40"), Reason: "550 5.1.1 no such user", Source: "bounces", Time: timestamppb.Now()}
}

func TestSuppression_NameIsItsAddress(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	ctx := t.Context()
	for id, address := range map[string]string{
		"jane%40example.com":                "jane@example.com",
		"a%2Fb%40example.com":               "a/b@example.com",
		"j%C3%B6rg%40xn--bcher-kva.example": "jörg@xn--bcher-kva.example",
		"Jane%40example.com":                "",
		"jane@example.com":                  "",
		"jane%2540example.com":              "",
		"jane":                              "",
		"jane%40example.com%0d%0a":          "",
		"jane%40b%C3%BCcher.example":        "",
		"":                                  "",
	} {
		got, err := r.suppr.CreateSuppression(ctx, &configv1.CreateSuppressionRequest{Suppression: &configv1.Suppression{
			Name: "tenants/acme/suppressions/" + id,
		}})
		if address == "" {
			refused(t, err, fault.Invalid, "NAME_INVALID")
		} else if err != nil || got.GetAddress() != address {
			t.Errorf("%s: %v %v", id, got, err)
		}
	}
	page := must[*configv1.ListSuppressionsResponse](t)(r.suppr.ListSuppressions(ctx, &configv1.ListSuppressionsRequest{Parent: "tenants/acme", PageSize: 1}))
	if len(page.GetSuppressions()) != 1 || page.GetNextPageToken() == "" {
		t.Error(page)
	}
	page = must[*configv1.ListSuppressionsResponse](t)(r.suppr.ListSuppressions(ctx, &configv1.ListSuppressionsRequest{Parent: "tenants/acme", PageToken: page.GetNextPageToken()}))
	if len(page.GetSuppressions()) != 2 {
		t.Error(page)
	}
	bad := suppression("x@example.com")
	bad.Reason, bad.Source, bad.Time = strings.Repeat("x", 1025), "Bounces!", &timestamppb.Timestamp{Nanos: -1}
	_, err := r.suppr.CreateSuppression(ctx, &configv1.CreateSuppressionRequest{Suppression: bad})
	refused(t, err, fault.Invalid, "CONFIG_INVALID")
	if diff := cmp.Diff([]string{"suppression.source", "suppression.time", "suppression.reason"}, fields(err)); diff != "" {
		t.Error(err, diff)
	}
}

// Who finds an address unreachable again writes it again; nobody has to undelete it first.
func TestSuppression_CanBeCreatedAfterItWasDeleted(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	ctx := t.Context()
	s := suppression("jane@example.com")
	create := func() error {
		_, err := r.suppr.CreateSuppression(ctx, &configv1.CreateSuppressionRequest{Suppression: s})
		return err
	}
	for range 2 {
		if err := create(); err != nil {
			t.Fatal(err)
		}
		refused(t, create(), fault.AlreadyExists, "NAME_TAKEN")
		must[*configv1.Suppression](t)(r.suppr.DeleteSuppression(ctx, &configv1.DeleteSuppressionRequest{Name: s.GetName()}))
	}
	must[*configv1.Suppression](t)(r.suppr.UpdateSuppression(ctx, &configv1.UpdateSuppressionRequest{Suppression: s, AllowMissing: true}))
	got := must[*configv1.Suppression](t)(r.suppr.GetSuppression(ctx, &configv1.GetSuppressionRequest{Name: s.GetName()}))
	if got.GetMetadata().GetDeleteTime() != nil {
		t.Error(got)
	}
}
