package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// peerAnswer and engineAnswer answer a call.
type (
	peerAnswer   = func(context.Context, *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error)
	engineAnswer = func(*event.Event) (fold.Answer, error)
)

// fakePeer is another replica, which answers what a test has set.
type fakePeer struct {
	optionsv1.UnimplementedEnforcementServiceServer
	address string

	mu      sync.Mutex
	answers []peerAnswer
	asked   []*optionsv1.ChargeRequest
}

func (p *fakePeer) Charge(ctx context.Context, req *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) {
	if !isForwarded(ctx) {
		return nil, errors.New("a call that a peer sends on is marked as forwarded")
	}
	p.mu.Lock()
	answer := p.answers[min(len(p.asked), len(p.answers)-1)]
	p.asked = append(p.asked, req)
	p.mu.Unlock()
	return answer(ctx, req)
}

const (
	callerKey = "tg_0123456789abcdef"
	// longest ends tests that fail.
	longest = 2 * time.Minute
)

func newPeer(t *testing.T, answers ...peerAnswer) *fakePeer {
	t.Helper()
	cfg := rpc.DefaultConfig("127.0.0.1:0")
	cfg.KeyHashes = []string{rpc.HashKey(callerKey)}
	server, err := rpc.NewServer(cfg, daemon.NewEnv("peer", zap.NewNop()))
	if err != nil {
		t.Fatal(err)
	}
	p := &fakePeer{address: server.Advertised(), answers: answers}
	optionsv1.RegisterEnforcementServiceServer(server, p)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

func peerAnswers(m *optionsv1.ChargeResponse, err error) func(context.Context, *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) {
	return func(context.Context, *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) { return m, err }
}

func answers(a fold.Answer, err error) func(*event.Event) (fold.Answer, error) {
	return func(*event.Event) (fold.Answer, error) { return a, err }
}

func ownedBy(address string) func(*event.Event) (fold.Answer, error) {
	return answers(fold.Answer{}, &fold.NotOwnerError{Address: address})
}

// lost is the engine's error for a command that it added and can't answer.
func lost() error {
	return fault.New(fault.Unavailable, "OUTCOME_UNKNOWN", "it may be counted (%w)", fold.ErrMoved)
}

func accepted(t *testing.T) fold.Answer {
	t.Helper()
	return fold.Answer{Value: &optionsv1.ChargeResponse{Allowed: true, Sequence: 43}}
}

var aCharge = &optionsv1.ChargeRequest{Name: wholeName, TransactionReference: "p-1", Amount: safeguardtest.Units("5"), Description: "a ticket"}

// inbound is a call as it comes in, under a key.
func inbound(ctx context.Context, pairs ...string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs(append(pairs, "authorization", "Bearer "+callerKey)...))
}

// A call goes to the owner of the partition, and while that moves to the next one, always the same call.
func TestCommand_FollowsItsPartition(t *testing.T) {
	allowed := &optionsv1.ChargeResponse{Allowed: true, Spent: safeguardtest.Units("5"), Sequence: 44}
	movedBehindAppend := passedOn(unknown, fold.ErrMoved)
	for _, test := range []struct {
		name string
		peer []peerAnswer
		here func(address string) []engineAnswer
		// sequence of the answer, or the reason of its error; peers is how often the peer was asked.
		sequence int64
		reason   string
		peers    int
	}{
		{"it is here", nil, func(string) []engineAnswer {
			return []engineAnswer{answers(accepted(t), nil)}
		}, 43, "", 0},
		{"a peer has it", []peerAnswer{peerAnswers(allowed, nil)},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 44, "", 1},
		{"a peer refuses", []peerAnswer{peerAnswers(nil, fault.New(fault.NotFound, account.ReasonNotFound, "no"))},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 0, account.ReasonNotFound, 1},
		{"a peer has lost it to this replica", []peerAnswer{peerAnswers(nil, movedAway(fold.ErrUnknown))},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a), answers(accepted(t), nil)}
			}, 43, "", 1},
		{"a peer lost it behind the append", []peerAnswer{peerAnswers(nil, movedBehindAppend), peerAnswers(allowed, nil)},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 44, "", 2},
		{"this replica lost it behind the append", []peerAnswer{peerAnswers(allowed, nil)},
			func(a string) []engineAnswer {
				return []engineAnswer{answers(fold.Answer{}, lost()), answers(fold.Answer{}, fold.ErrUnknown), ownedBy(a)}
			}, 44, "", 1},
		{"a peer does not know what became of it, and has not lost the partition", []peerAnswer{
			peerAnswers(nil, fault.New(fault.Unavailable, ReasonOutcome, "no acknowledgement"))},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 0, ReasonOutcome, 1},
		{"throttled behind a try that may stand in the log", []peerAnswer{
			peerAnswers(nil, movedBehindAppend), peerAnswers(nil, fault.New(fault.Throttled, "CALLS_WAITING", "many"))},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 0, ReasonOutcome, 2},
		{"throttled at once", []peerAnswer{peerAnswers(nil, fault.New(fault.Throttled, "CALLS_WAITING", "many"))},
			func(a string) []engineAnswer {
				return []engineAnswer{ownedBy(a)}
			}, 0, "CALLS_WAITING", 1},
		{"a refusal of the fold", nil, func(string) []engineAnswer {
			return []engineAnswer{answers(fold.Answer{}, fault.New(fault.NotFound, account.ReasonNotOffered, "no"))}
		}, 0, account.ReasonNotOffered, 0},
		{"a partition that is rebuilt", nil, func(string) []engineAnswer {
			return []engineAnswer{answers(fold.Answer{}, fold.ErrUnknown)}
		}, 0, ReasonRebuilding, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, test.peer...)
			engine := &fakeEngine{calls: test.here(p.address)}
			if test.reason == ReasonRebuilding {
				engine.storedErr = fold.ErrUnknown
			}
			v := forwarded(t, reachable(t, engine, "2026-03-12T10:00", safeguardtest.Full()))
			ctx, cancel := context.WithTimeout(inbound(t.Context()), longest)
			defer cancel()
			got, err := v.charge(ctx, aCharge)
			if fault.ReasonOf(err) != test.reason || got.GetSequence() != test.sequence || (err == nil) != (test.reason == "") {
				t.Errorf("%v, %v", got, err)
			}
			if test.reason == ReasonRebuilding && len(engine.asked) > 2 {
				t.Errorf("tried %d times, which takes as long as the caller waits", len(engine.asked))
			}
			if len(p.asked) != test.peers {
				t.Errorf("the peer was asked %d times", len(p.asked))
			}
			for _, e := range engine.asked {
				if e.ID != "p-1" || e.Source != account.ChargeSource || e.Type != account.TypeCharge || e.Key() != "acme/"+safeguardtest.MSISDN || e.Correlation != "p-1" || e.Content() != engine.asked[0].Content() {
					t.Errorf("appended %+v", e)
				}
			}
			if test.reason == ReasonOutcome || test.reason == ReasonRebuilding {
				if e, ok := errors.AsType[*fault.Error](err); !ok || e.Kind != fault.Unavailable || test.peers != 1 && e.RetryAfter <= 0 {
					t.Errorf("no word about when to ask again: %v", err)
				}
			}
		})
	}
}

// Of what is not known in the end there are two kinds: surely nothing happened, or it may have.
func TestCommand_WithoutAnAnswerReportsWhetherItMayBeCounted(t *testing.T) {
	// asksOnce is a call that the owner at an address is asked of, and whose caller goes away at the next try.
	asksOnce := func(t *testing.T, ctx context.Context, address string) error {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		v := forwarded(t, reachable(t, &fakeEngine{calls: []engineAnswer{ownedBy(address), func(*event.Event) (fold.Answer, error) {
			cancel()
			return fold.Answer{}, fold.ErrUnknown
		}}}, "2026-03-12T10:00", safeguardtest.Full()))
		_, err := v.charge(ctx, aCharge)
		return err
	}
	t.Run("the owner could not be reached", func(t *testing.T) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = closed.Close()
		if err := asksOnce(t, inbound(t.Context()), closed.Addr().String()); fault.ReasonOf(err) != ReasonRebuilding {
			t.Errorf("%v", err)
		}
	})
	t.Run("the owner does not know the caller", func(t *testing.T) {
		if err := asksOnce(t, t.Context(), newPeer(t).address); fault.ReasonOf(err) != ReasonRebuilding {
			t.Errorf("%v", err)
		}
	})
	t.Run("the owner took it and did not answer", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(inbound(t.Context()), longest)
		defer cancel()
		p := newPeer(t, func(ctx context.Context, _ *optionsv1.ChargeRequest) (*optionsv1.ChargeResponse, error) {
			cancel() // the caller goes away
			<-ctx.Done()
			return nil, ctx.Err()
		})
		v := forwarded(t, reachable(t, &fakeEngine{calls: []engineAnswer{ownedBy(p.address)}}, "2026-03-12T10:00", safeguardtest.Full()))
		if _, err := v.charge(ctx, aCharge); fault.ReasonOf(err) != ReasonOutcome || status.Code(fault.Status(err).Err()) != codes.Unavailable {
			t.Errorf("%v", err)
		}
	})
	for name, test := range map[string]struct {
		err    error
		reason string
	}{"a partition that moves": {fold.ErrUnknown, ReasonRebuilding}, "a partition that was lost": {lost(), ReasonOutcome}} {
		t.Run(name+", and this process ends", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := reachable(t, &fakeEngine{calls: []engineAnswer{answers(fold.Answer{}, test.err)}}, "2026-03-12T10:00", safeguardtest.Full())
				stopping := make(chan struct{})
				s.stopping = stopping
				close(stopping)
				begin := time.Now()
				_, err := forwarded(t, s).charge(t.Context(), aCharge)
				if took := time.Since(begin); fault.ReasonOf(err) != test.reason || took != stoppingPatience {
					t.Errorf("%v, after %s", err, took)
				}
			})
		})
	}
}

// A replica that a peer took for the owner answers at once: the peer knows better whom to ask next.
func TestCommand_SentOnIsTriedOnce(t *testing.T) {
	for _, test := range []struct {
		err    error
		reason string
		sent   applied // as the peer reads it
	}{
		{&fold.NotOwnerError{Address: "127.0.0.1:1"}, reasonMoved, notApplied},
		{fold.ErrUnknown, reasonMoved, notApplied},
		{lost(), ReasonOutcome, unknown},
		{fault.New(fault.Unavailable, ReasonOutcome, "no acknowledgement"), ReasonOutcome, final},
		{fault.New(fault.Precondition, account.ReasonState, "no"), account.ReasonState, final},
		{fmt.Errorf("encode call: %w", errors.New("x")), "", final},
	} {
		engine := &fakeEngine{calls: []engineAnswer{answers(fold.Answer{}, test.err)}}
		_, err := forwarded(t, reachable(t, engine, "2026-03-12T10:00", safeguardtest.Full())).charge(inbound(t.Context(), sentOn, "1"), aCharge)
		if fault.ReasonOf(err) != test.reason || len(engine.asked) != 1 {
			t.Errorf("%v: answered %v after %d tries", test.err, err, len(engine.asked))
		}
		if got := appliedThere(true, fault.FromGRPC(fault.Status(err).Err())); got != test.sent {
			t.Errorf("%v: a peer takes it as %d", test.err, got)
		}
	}
}
