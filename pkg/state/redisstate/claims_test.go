package redisstate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/state/statetest"
)

// onEach runs a test on every Redis there is.
func onEach(t *testing.T, test func(t *testing.T, s *redisstate.Store, client *redis.Client, key string)) {
	for _, server := range statetest.Redises(t) {
		t.Run(server.Name, func(t *testing.T) {
			store, prefix := server.Open(t)
			client := redis.NewClient(&redis.Options{Addr: server.Address})
			t.Cleanup(func() {
				if err := client.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, store, client, prefix+":key:k")
		})
	}
}

// want fails unless a call's result is a state and an answer.
func want(t *testing.T, of state.ClaimState, answer string) func(state.Settlement, error) {
	return func(got state.Settlement, err error) {
		t.Helper()
		if err != nil || got.State != of || string(got.Answer) != answer {
			t.Fatalf("got %s %q, %v; want %s %q", got.State, got.Answer, err, of, answer)
		}
	}
}

func TestClaim_OneHolderDecidesAndEverybodyGetsItsAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, client *redis.Client, key string) {
		ctx := t.Context()
		want(t, state.Claimed, "")(s.Claim(ctx, "k", "content", "a", time.Minute))
		want(t, state.Waiting, "")(s.Claim(ctx, "k", "content", "b", time.Minute))
		want(t, state.Reused, "")(s.Claim(ctx, "k", "other", "b", time.Minute))
		want(t, state.Lost, "")(s.Decide(ctx, "k", "b", []byte("b's")))
		want(t, state.Decided, "a's \x00")(s.Decide(ctx, "k", "a", []byte("a's \x00")))
		want(t, state.Decided, "a's \x00")(s.Decide(ctx, "k", "a", []byte("again")))
		want(t, state.Decided, "a's \x00")(s.Claim(ctx, "k", "content", "b", time.Minute))
		want(t, state.Reused, "")(s.Claim(ctx, "k", "other", "b", time.Minute))
		if err := s.MarkPublished(ctx, "k"); err != nil {
			t.Fatal(err)
		}
		want(t, state.Published, "a's \x00")(s.Claim(ctx, "k", "content", "b", time.Minute))
		if left := client.PTTL(ctx, key).Val(); left <= 23*time.Hour || left > 24*time.Hour {
			t.Errorf("the key is known for %s", left)
		}
	})
}

func TestClaim_LapsedOneIsAskedAnewAndItsHolderComesTooLate(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, _ *redis.Client, _ string) {
		ctx := t.Context()
		want(t, state.Claimed, "")(s.Claim(ctx, "k", "content", "a", 0))
		want(t, state.Reused, "")(s.Claim(ctx, "k", "other", "b", time.Minute))
		want(t, state.Claimed, "")(s.Claim(ctx, "k", "content", "b", time.Minute))
		want(t, state.Lost, "")(s.Decide(ctx, "k", "a", []byte("a's")))
		want(t, state.Decided, "b's")(s.Decide(ctx, "k", "b", []byte("b's")))
		want(t, state.Decided, "b's")(s.Decide(ctx, "k", "a", []byte("a's")))
	})
}

func TestRelease_LetsAnotherClaimTheSameContentOnly(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, _ *redis.Client, _ string) {
		ctx := t.Context()
		want(t, state.Claimed, "")(s.Claim(ctx, "k", "content", "a", time.Minute))
		if err := s.Release(ctx, "k", "b"); err != nil {
			t.Fatal(err)
		}
		want(t, state.Waiting, "")(s.Claim(ctx, "k", "content", "b", time.Minute))
		if err := s.Release(ctx, "k", "a"); err != nil {
			t.Fatal(err)
		}
		want(t, state.Reused, "")(s.Claim(ctx, "k", "other", "b", time.Minute))
		want(t, state.Claimed, "")(s.Claim(ctx, "k", "content", "b", time.Minute))
		want(t, state.Decided, "b's")(s.Decide(ctx, "k", "b", []byte("b's")))
		if err := s.Release(ctx, "k", "b"); err != nil {
			t.Fatal(err)
		}
		want(t, state.Decided, "b's")(s.Claim(ctx, "k", "content", "c", time.Minute))
	})
}

func TestClaim_OfAnotherFormatIsRefused(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, client *redis.Client, key string) {
		if err := client.HSet(t.Context(), key, "format", "9", "answer", "x").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Claim(t.Context(), "k", "content", "a", time.Minute); err == nil || !strings.Contains(err.Error(), `format "9"`) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMarkPublished_MakesNoKeyThatIsGone(t *testing.T) {
	onEach(t, func(t *testing.T, s *redisstate.Store, client *redis.Client, key string) {
		if err := s.MarkPublished(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if n := client.Exists(t.Context(), key).Val(); n != 0 {
			t.Error("a key without an answer is made")
		}
	})
}
