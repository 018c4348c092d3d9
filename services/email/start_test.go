package email

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

// A start without config goes on with the profile as it was last changed, and sends nothing to who was suppressed.
func TestRun_StartsWithoutTheConfigurationService(t *testing.T) {
	onServers(t, func(f *fixture) {
		m := newMailServer(f)
		f.tenant(m.port)
		name := f.store("billing", m.profile(), nil)
		must[*configv1.Suppression](f)(f.suppressions.CreateSuppression(f.ctx, &configv1.CreateSuppressionRequest{Suppression: &configv1.Suppression{
			Name: "tenants/sample/suppressions/eva%40mail.example",
		}}))
		sender := func(from string) {
			must[*configv1.SmtpProfile](f)(f.profiles.UpdateSmtpProfile(f.ctx, &configv1.UpdateSmtpProfileRequest{
				SmtpProfile: &configv1.SmtpProfile{Name: name, FromAddress: from}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"from_address"}},
			}))
		}
		sent := 0
		from := func() string { // of one more message
			sent++
			f.plan(newDelivery(t, name, string(rune('a'+sent)), "ana@mail.example"))
			return m.received(f, sent)[sent-1].from
		}
		r := f.start()
		if got := from(); got != "billing@operator.example" {
			t.Fatalf("the first is from %s", got)
		}
		sender("accounts@operator.example")
		for from() != "accounts@operator.example" {
		}
		client := redis.NewClient(&redis.Options{Addr: f.cfg.Redis.Address})
		defer client.Close()
		kept := "{" + f.cfg.Redis.Prefix + ":config:email.3"
		for there := int64(0); there == 0; { // suppressions are kept a moment after they are in force
			there = must[int64](f)(client.Exists(f.ctx, kept+":encrypted:suppressions}:heads").Result())
		}
		if err := f.stopConfig(); err != nil {
			t.Fatal(err)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}

		f.start()
		eva := newDelivery(t, name, "eva", "eva@mail.example")
		f.plan(eva)
		if a := f.settlement(eva)[0]; a.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_CANCELLED || a.GetReason() != "suppressed" {
			t.Errorf("without config, to an address that is suppressed: %v", a)
		}
		for range 3 {
			if got := from(); got != "accounts@operator.example" {
				t.Errorf("without config a message is from %s", got)
			}
		}
		for _, key := range []string{":encrypted}:heads", ":encrypted}:parts", ":encrypted:suppressions}:heads", ":encrypted:suppressions}:parts"} {
			all, err := client.HVals(f.ctx, kept+key).Result()
			if text := strings.Join(all, ""); err != nil || text == "" || strings.Contains(text, "operator.example") || strings.Contains(text, "eva%40") {
				f.Errorf("%s has %d bytes, or shows a profile or an address: %v", key, len(text), err)
			}
		}

		f.runConfig()
		sender("desk@operator.example")
		for from() != "desk@operator.example" {
		}
	})
}
