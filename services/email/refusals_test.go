package email

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	server "github.com/emersion/go-smtp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/delivery"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// Field case 35, with everything running: what becomes of each delivery, who is suppressed then, and that a dozen refusals
// are none of the profile's. What waits goes as soon as the profile is changed; TestRun_Greylisted has the minute's wait.
func TestRun_WhoseRefusal(t *testing.T) {
	type outcome struct {
		settlement string
		attempts   int // of the delivery
		class      string
	}
	first := map[string]outcome{
		"r01": {"DEAD", 1, "reply"}, "r02": {"DEAD", 1, "reply"}, "r03": {"DEAD", 1, "reply"}, "r04": {"DEAD", 1, "reply"}, "r05": {"DEAD", 1, "reply"},
		"r06": {"DELIVERED", 2, ""}, "r07": {"DELIVERED", 2, ""}, "r08": {"DEAD", 1, "reply"}, "r09": {"DEAD", 1, "reply"}, "r10": {"DELIVERED", 1, ""},
		"r11": {"DEAD", 1, "too_large"}, "ana+billing": {"DEAD", 1, "reply"}, "josé": {"DEAD", 1, "smtputf8_not_offered"}, "ana": {"DELIVERED", 1, ""},
	}
	second := map[string]outcome{
		"r01": {"CANCELLED", 0, ""}, "r02": {"DEAD", 1, "reply"}, "ana+billing": {"CANCELLED", 0, ""}, "josé": {"DEAD", 1, "smtputf8_not_offered"}, "ana": {"DELIVERED", 1, ""},
		"R01": {"CANCELLED", 0, ""},
	}
	onServers(t, func(f *fixture) {
		m, strict := newMailServer(f), newMailServer(f)
		m.answer = refusals35
		strict.answer = func(at, _ string, _ int) refusal {
			if at == "MAIL" {
				return refusal{552, server.EnhancedCode{5, 3, 4}, "message too big"}
			}
			return refusal{}
		}
		f.tenant(m.port, strict.port)
		profiles := map[string]string{"": f.store("fc35", m.profile(), nil), "r11": f.store("strict", strict.profile(), nil)}
		plan := func(id string, names ...string) map[string]*delivery.Delivery {
			ds := map[string]*delivery.Delivery{}
			for _, name := range names {
				profile := profiles[name]
				if profile == "" {
					profile = profiles[""]
				}
				ds[name] = newDelivery(f, profile, id, name+"@mail.example")
				f.plan(ds[name])
			}
			return ds
		}
		check := func(ds map[string]*delivery.Delivery, want map[string]outcome) {
			f.Helper()
			all := f.attempts(func(all []*deliveryv1.Attempt) bool {
				for _, d := range ds {
					if mine := of(d, all); len(mine) == 0 || mine[len(mine)-1].GetSettlement() == 0 {
						return false
					}
				}
				return true
			})
			dead := f.dead()
			for name, d := range ds {
				mine := of(d, all)
				last := mine[len(mine)-1]
				got := outcome{strings.TrimPrefix(last.GetSettlement().String(), "SETTLEMENT_"), int(last.GetNumber()), last.GetErrorClass()}
				if got != want[name] || dead[d.ID] != (want[name].settlement == "DEAD") || (last.GetReason() == "suppressed") != (want[name].settlement == "CANCELLED") {
					t.Errorf("%s: %+v, a dead letter %t, want %+v: %v", name, got, dead[d.ID], want[name], last)
				}
			}
		}
		f.start()
		ds := plan("1", slices.Collect(maps.Keys(first))...)
		waits := []string{"r06", "r07", "r10"}
		f.attempts(func(all []*deliveryv1.Attempt) bool {
			for _, name := range waits {
				if len(of(ds[name], all)) == 0 {
					return false
				}
			}
			return settled(len(first) - len(waits))(all)
		})
		must[*configv1.SmtpProfile](f)(f.profiles.UpdateSmtpProfile(f.ctx, &configv1.UpdateSmtpProfileRequest{
			SmtpProfile: &configv1.SmtpProfile{Name: profiles[""], ReturnPath: "bounces@operator.example"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"return_path"}},
		}))
		check(ds, first)
		check(plan("2", slices.Collect(maps.Keys(second))...), second)
		for name, id := range map[string]string{"fc35": "r10", "strict": ""} {
			p := must[*configv1.SmtpProfile](f)(f.profiles.GetSmtpProfile(f.ctx, &configv1.GetSmtpProfileRequest{Name: "tenants/sample/smtpProfiles/" + name}))
			if h := p.GetHealth(); h.GetCircuitOpen() || h.GetState() == configv1.EndpointState_ENDPOINT_STATE_SUSPENDED || id == "" && h.GetFailures() != 0 {
				t.Errorf("health of %s: %v", name, h)
			}
		}
		var suppressed []string
		for want := "ana%2Bbilling r01 r05"; strings.Join(suppressed, " ") != want; { // they are reported one after the other
			list := must[*configv1.ListSuppressionsResponse](f)(f.suppressions.ListSuppressions(f.ctx, &configv1.ListSuppressionsRequest{Parent: "tenants/sample"}))
			suppressed = nil
			for _, s := range list.GetSuppressions() {
				suppressed = append(suppressed, strings.TrimSuffix(strings.TrimPrefix(s.GetName(), "tenants/sample/suppressions/"), "%40mail.example"))
			}
			if len(suppressed) > 3 {
				f.Fatal(fmt.Sprint("suppressed ", suppressed))
			}
		}
		for _, got := range m.messages() {
			name, _, _ := strings.Cut(got.to, "@")
			if id := header(got.text, "Message-ID"); name != "ana" && id != "<"+ds[name].ID+"@operator.example>" {
				t.Errorf("%s received %s", name, id)
			}
		}
		if got := m.messages(); len(got) != 5 {
			t.Errorf("%d messages were taken", len(got))
		}
	})
}
