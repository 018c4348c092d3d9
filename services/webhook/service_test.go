package webhook

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
)

func TestRun_DeliversSignedAndInOrder(t *testing.T) {
	onServers(t, func(f *fixture) {
		one, two := newReceiver(f.T, "one"), newReceiver(f.T, "two")
		f.configure(one, two)
		r := f.start()
		f.plan(ordered(one, "a", 1, 30)...)
		f.plan(ordered(two, "b", 1, 5)...)
		for i, got := range one.receipts(f, 30) {
			if got.verified != nil || got.sequence != strconv.Itoa(i+1) || got.body != `{"n":`+strconv.Itoa(i+1)+`}` {
				t.Errorf("receipt %d: %+v", i, got)
			}
		}
		two.receipts(f, 5)
		all := f.attempts(settled(35))
		for _, a := range all {
			if a.GetSettlement() != deliveryv1.Settlement_SETTLEMENT_DELIVERED || a.GetStatus() != 204 || a.GetPhases().GetTotal() == nil {
				t.Errorf("attempt %v", a)
			}
			for _, h := range a.GetRequestHeaders() {
				if h.GetValue() == "hush" {
					t.Error("a key stands in the attempt's record")
				}
			}
		}
		if err := r.stop(); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestRun_FailingReceiverHoldsOnlyItsOrderingKey(t *testing.T) {
	onServers(t, func(f *fixture) {
		bad, down, good := newReceiver(f.T, "bad"), newReceiver(f.T, "down"), newReceiver(f.T, "good")
		bad.respond(func(n int) int {
			if n == 1 {
				return http.StatusInternalServerError
			}
			return http.StatusOK
		})
		f.configure(bad, down, good)
		down.server.Close()
		f.start()
		f.plan(ordered(bad, "a", 1, 2)...)
		f.plan(ordered(down, "a", 1, 1)...)
		f.plan(ordered(good, "a", 1, 10)...)
		good.receipts(f, 10)
		got := bad.receipts(f, 3)
		if got[0].sequence != "1" || got[1].sequence != "1" || got[2].sequence != "2" || got[0].id != got[1].id {
			t.Errorf("received %+v", got)
		}
		all := f.attempts(settled(12))
		var failed, refused *deliveryv1.Attempt
		for _, a := range all {
			if a.GetStatus() == 500 {
				failed = a
			}
			if a.GetEndpoint() == down.name && a.GetNumber() == 1 {
				refused = a
			}
		}
		if failed == nil || failed.GetNextAttempt() == nil || string(failed.GetResponseBody()) != "because" {
			t.Errorf("the failed attempt: %v", failed)
		}
		// It is counted from the attempt's end.
		if wait := failed.GetNextAttempt().AsTime().Sub(failed.GetStarted().AsTime()) - failed.GetPhases().GetTotal().AsDuration(); wait < 4*time.Second || wait > 6*time.Second {
			t.Errorf("repeated after %s", wait)
		}
		if refused.GetErrorClass() != "connect" || refused.GetStatus() != 0 || refused.GetNextAttempt() == nil {
			t.Errorf("the attempt at nobody: %v", refused)
		}
	})
}

func TestSend_RedirectIsAFailureAndIsNotFollowed(t *testing.T) {
	onServers(t, func(f *fixture) {
		r := newReceiver(f.T, "r")
		r.respond(func(n int) int {
			if n == 1 {
				return http.StatusFound
			}
			return http.StatusOK
		})
		f.configure(r)
		f.start()
		f.plan(ordered(r, "a", 1, 1)...)
		all := f.attempts(settled(1))
		if len(all) != 2 || all[0].GetStatus() != 302 || all[0].GetSettlement() != 0 {
			t.Errorf("attempts %v", all)
		}
	})
}

func TestRun_EmptiedRedisIsRebuiltFromAttempts(t *testing.T) {
	onServers(t, func(f *fixture) {
		ok, sick := newReceiver(f.T, "ok"), newReceiver(f.T, "sick")
		sick.respond(func(int) int { return http.StatusServiceUnavailable })
		f.configure(ok, sick)
		r := f.start()
		f.plan(ordered(ok, "a", 1, 50)...)
		f.plan(ordered(sick, "a", 1, 3)...)
		ok.receipts(f, 50)
		f.attempts(settled(50))
		sick.receipts(f, 1)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		f.empty()
		sick.respond(func(int) int { return http.StatusOK })
		f.start()
		f.plan(ordered(ok, "a", 51, 10)...)
		got := ok.receipts(f, 60)
		for i, g := range got {
			if g.sequence != strconv.Itoa(i+1) {
				t.Fatalf("receipt %d is %+v: something settled was sent again, or lost", i, g)
			}
		}
		second := sick.receipts(f, 4)
		if second[1].sequence != "1" || second[3].sequence != "3" {
			t.Errorf("what waited was received as %+v", second)
		}
	})
}

// empty removes the service's keys.
func (f *fixture) empty() {
	f.Helper()
	keys, err := f.redis.Keys(f.ctx, "*"+f.cfg.Redis.Prefix+"*").Result()
	if err != nil || len(keys) == 0 {
		f.Fatalf("%d keys to delete, %v", len(keys), err)
	}
	if err := f.redis.Del(f.ctx, keys...).Err(); err != nil {
		f.Fatal(err)
	}
}

func TestRun_PublishedResultIsNotSentAgain(t *testing.T) {
	onServers(t, func(f *fixture) {
		r := newReceiver(f.T, "r")
		f.configure(r)
		service := f.start()
		f.plan(ordered(r, "a", 1, 5)...)
		r.receipts(f, 5)
		f.attempts(settled(5))
		f.link.arm()
		f.plan(ordered(r, "a", 6, 5)...)
		r.receipts(f, 10)
		for published := false; !published; { // each commit is held before Redis sees it
			select {
			case <-f.link.held:
			case <-f.ctx.Done():
				t.Fatal("no commit came")
			}
			f.attempts(func(all []*deliveryv1.Attempt) bool {
				published = len(all) == 10
				return true
			})
			if !published {
				f.link.release <- struct{}{}
			}
		}
		f.link.cut()
		if err := service.stop(); err != nil {
			t.Logf("ended without its last commit: %v", err)
		}
		f.link.mend()
		f.start()
		f.plan(ordered(r, "a", 11, 1)...)
		for i, g := range r.receipts(f, 11) {
			if g.sequence != strconv.Itoa(i+1) {
				t.Fatalf("receipt %d is %+v", i, g)
			}
		}
	})
}

func TestRun_DeletedEndpointsDeliveriesAreDeadLetters(t *testing.T) {
	onServers(t, func(f *fixture) {
		r, other := newReceiver(f.T, "r"), newReceiver(f.T, "other")
		r.respond(func(int) int { return http.StatusInternalServerError })
		f.configure(r, other)
		f.start()
		f.plan(ordered(r, "a", 1, 3)...)
		r.receipts(f, 1)
		f.configure(other)
		f.attempts(settled(3))
		n := 0
		for p := range int32(2) {
			b, err := f.client.FetchFrom(f.ctx, f.client.Topic(stream.DeliveriesDead), p, 0, 8<<20)
			if err != nil {
				t.Fatal(err)
			}
			n += len(b.Records)
		}
		if n != 3 {
			t.Errorf("%d dead letters", n)
		}
	})
}

func TestRun_StartsWithoutTheConfigurationService(t *testing.T) {
	onServers(t, func(f *fixture) {
		one := newReceiver(f.T, "one")
		f.configureWith(func(e *configv1.Endpoint) { e.Secrets[0] = "whsec_b2xkLW9sZC1vbGQtb2xkLW9sZC1vbGQ=" }, one)
		r := f.start()
		f.plan(ordered(one, "a", 1, 1)...)
		if got := one.receipts(f, 1); got[0].verified == nil {
			t.Fatal("the first revision has the secret of the second")
		}
		f.configure(one)
		n := 1
		for applied := false; !applied; {
			n++
			f.plan(ordered(one, "a", n, 1)...)
			applied = one.receipts(f, n)[n-1].verified == nil
		}
		f.Configuration.SetAway(true)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		f.start()
		f.plan(ordered(one, "a", n+1, 3)...)
		for i, got := range one.receipts(f, n+3)[n:] {
			if got.verified != nil || got.sequence != strconv.Itoa(n+1+i) {
				t.Errorf("without the configuration service %+v was received", got)
			}
		}
		kept := "{" + f.cfg.Redis.Prefix + ":config:webhook.3:encrypted}"
		for _, key := range []string{kept + ":heads", kept + ":parts"} {
			all, err := f.redis.HVals(f.ctx, key).Result()
			if text := strings.Join(all, ""); err != nil || text == "" || strings.Contains(text, "hush") || strings.Contains(text, one.url) {
				f.Errorf("%s has %d bytes, or shows an endpoint: %v", key, len(text), err)
			}
		}
		f.Configuration.SetAway(false)
		f.configure(one)
		f.plan(ordered(one, "a", n+4, 1)...)
		one.receipts(f, n+4)
	})
}

func TestRun_ReplicasShareAndHandOverPartitions(t *testing.T) {
	onServers(t, func(f *fixture) {
		var rs []*receiving
		for i := range 6 {
			rs = append(rs, newReceiver(f.T, strconv.Itoa(i)))
		}
		f.configure(rs...)
		first := f.start()
		for _, r := range rs {
			f.plan(ordered(r, "a", 1, 5)...)
		}
		for _, r := range rs {
			r.receipts(f, 5)
		}
		f.start()
		for i := range 10 {
			for _, r := range rs {
				f.plan(ordered(r, "a", 6+i, 1)...)
			}
		}
		if err := first.stop(); err != nil {
			t.Errorf("the first ended with %v", err)
		}
		for _, r := range rs {
			f.plan(ordered(r, "a", 16, 1)...)
		}
		for _, r := range rs {
			last := 0
			for n := 16; last < 16; n++ {
				got := r.receipts(f, min(n, 16))
				seen := map[string]bool{}
				last = 0
				for _, g := range got {
					s, _ := strconv.Atoi(g.sequence)
					if !seen[g.id] && s != last+1 {
						t.Fatalf("%s received %v", r.name, got)
					}
					if !seen[g.id] {
						last = s
					}
					seen[g.id] = true
				}
			}
		}
	})
}
