package profile

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/scope"
	"github.com/tollgate/tollgate/pkg/spend"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// The figures are written here a second time, as the laws have them.
func TestProfile_HasTheFiguresOfItsSource(t *testing.T) {
	three := []spend.State{spend.Active, spend.TemporarilyInactive, spend.PermanentlyInactive}
	eighty := []spend.Threshold{{Percent: 80}}
	for name, want := range map[string]configclient.Offer{
		"eu-roaming": {
			Option: spend.Data, Currency: "EUR", Limit: 50 * spend.Unit, HasLimit: true, PerPayment: spend.Max, Basis: configclient.Net,
			Scope: configclient.DefaultDataScope, Zone: time.UTC, States: three, DefaultState: spend.Active, SecondNotice: 100 * spend.Unit,
		},
		"uk-roaming": {
			Option: spend.Data, Currency: "GBP", Limit: 45 * spend.Unit, HasLimit: true, PerPayment: spend.Max, Basis: configclient.Gross,
			Scope: configclient.DefaultDataScope, Zone: london(t), States: three, DefaultState: spend.Active,
		},
		"uk-bill-limit": {
			Option: spend.Overspend, Currency: "GBP", PerPayment: spend.Max, Basis: configclient.Gross, Scope: configclient.DefaultOverspendScope,
			Zone: london(t), States: []spend.State{spend.Active, spend.Inactive}, DefaultState: spend.Inactive,
		},
		"uk-psr": {
			Option: spend.Payment, Currency: "GBP", Limit: 240 * spend.Unit, HasLimit: true, PerPayment: 40 * spend.Unit, Basis: configclient.Gross,
			Scope: configclient.DefaultPaymentScope, Zone: london(t), States: []spend.State{spend.Active}, DefaultState: spend.Active,
		},
		"eu-psd2": {
			Option: spend.Payment, Currency: "EUR", Limit: 300 * spend.Unit, HasLimit: true, PerPayment: 50 * spend.Unit, Basis: configclient.Gross,
			Scope: configclient.DefaultPaymentScope, Zone: time.UTC, States: []spend.State{spend.Active}, DefaultState: spend.Active,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want.Thresholds, want.RenewalDay, want.Rating = eighty, 1, configclient.Retail
			stored, err := Class(name)
			if err != nil {
				t.Fatal(err)
			}
			s := configclient.Decode(&configv1.Snapshot{Revision: 1, ClassesOfService: []*configv1.ClassOfService{stored}})
			if violations := s.Unreadable(); len(violations) > 0 {
				t.Fatal(violations)
			}
			class, ok := s.Class("your-tenant", name)
			if !ok {
				t.Fatalf("stands under %s", stored.GetName())
			}
			offers := 0
			for o := range spend.Option(spend.Options) {
				if class.Offer(o) != nil {
					offers++
				}
			}
			if offers != 1 {
				t.Errorf("%d options: profiles are put together by the option", offers)
			}
			zone := cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })
			if diff := cmp.Diff(&want, class.Offer(want.Option), zone); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProfile_ExplicitScopeIsTheDefault(t *testing.T) {
	for name, usage := range map[string]*eventv1.UsageCharged{
		"eu-roaming": {Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true}, "uk-bill-limit": {OutOfBundle: true}, "eu-psd2": {ThirdParty: true},
	} {
		class, err := Class(name)
		if err != nil {
			t.Fatal(err)
		}
		text := class.GetDataSafeguard().GetScope() + class.GetOverspendSafeguard().GetScope() + class.GetPaymentSafeguard().GetScope()
		s, err := scope.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := s.Holds(usage); !holds || err != nil {
			t.Errorf("%s: %t, %v", name, holds, err)
		}
	}
}

// law is what a source is: an act with its number, and article the place in it.
var (
	law     = regexp.MustCompile(`(Regulation|Directive) \(EU\) (No )?\d+/\d+|(Act|Regulations) \d{4}|practice in`)
	article = regexp.MustCompile(`Article \d+|section \d+|paragraph \d+`)
)

func TestProfile_EachFileIsListedWithItsSource(t *testing.T) {
	var listed, found []string
	for _, p := range All() {
		listed = append(listed, p.Name)
		source, err := Source(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(source), "kind:")
		if !strings.HasPrefix(head, "# ") || !strings.Contains(head, "not legal advice") || p.Law == "" {
			t.Errorf("%s does not name its source", p.Name)
		}
		for what, text := range map[string]string{"its line in the list": p.Law, "the head of its file": head} {
			if !law.MatchString(text) || !article.MatchString(text) && !strings.Contains(text, "practice") {
				t.Errorf("%s names no law and article in %s", p.Name, what)
			}
		}
		if !strings.Contains(string(source), "name: tenants/your-tenant/classesOfService/"+p.Name+"\n") {
			t.Errorf("%s has another name", p.Name)
		}
	}
	entries, err := fs.ReadDir(files, "profiles")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		found = append(found, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(listed)
	if diff := cmp.Diff(found, listed); diff != "" {
		t.Error(diff)
	}
	if _, err := Class("us-roaming"); err == nil || !strings.Contains(err.Error(), "eu-roaming, uk-roaming") {
		t.Errorf("a profile that there is not: %v", err)
	}
}

func london(t *testing.T) *time.Location {
	t.Helper()
	zone, err := spend.Zone("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	return zone
}
