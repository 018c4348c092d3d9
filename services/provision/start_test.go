package provision

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
)

// A start without config goes on with the hooks as they were last changed.
func TestRun_StartsWithoutTheConfigurationService(t *testing.T) {
	onServers(t, func(f *fixture) {
		const secret = "whsec_aHVzaC1odXNoLWh1c2gtaHVzaC1odXNoLWh1c2g="
		_, first := f.http("first", answering(http.StatusForbidden, `{"reason":"first"}`))
		first.GetHttp().Secrets = []string{secret}
		f.save()
		keys := 0
		reason := func(r *running) string { // of one more decision
			keys++
			return f.decided(r, nord("k"+strconv.Itoa(keys))).GetReason()
		}
		r := f.start()
		if got := reason(r); got != "first" {
			t.Fatalf("the first revision decides %q", got)
		}
		second, _ := f.http("second", answering(http.StatusForbidden, `{"reason":"second"}`))
		f.hooks = f.hooks[1:]
		f.hooks[0].GetHttp().Secrets = []string{secret}
		f.save()
		for reason(r) != "second" {
		}
		f.Configuration.SetAway(true)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}

		r = f.start()
		asked := second.asked()
		for range 3 {
			if got := reason(r); got != "second" {
				t.Errorf("without config the reason is %q", got)
			}
		}
		if n := second.asked() - asked; n != 3 {
			t.Errorf("without config the handler is asked %d times", n)
		}
		for _, h := range second.heads[asked:] {
			if h.Get("Webhook-Signature") == "" {
				t.Error("without config a request is not signed")
			}
		}
		if res := f.decided(r, nord("k1")); !res.GetRepeated() || res.GetReason() != "first" || res.GetDecision() != provisionv1.Decision_DECISION_FORBID {
			t.Errorf("what was decided before is answered with %v", res)
		}
		store, err := f.store()
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"heads", "parts"} {
			all, err := store.client.HVals(f.Ctx, "{"+store.prefix+":config:provision.3:encrypted}:"+key).Result()
			text := strings.Join(all, "")
			if err != nil || text == "" || strings.Contains(text, "hush") || strings.Contains(text, "/second") {
				t.Errorf("%s have %d bytes, or show a hook: %v", key, len(text), err)
			}
		}

		f.Configuration.SetAway(false)
		f.http("third", answering(http.StatusForbidden, `{"reason":"third"}`))
		f.hooks = f.hooks[1:]
		f.save()
		for reason(r) != "third" {
		}
	})
}
