package safeguard

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// stored is what the engine answers.
type stored struct {
	reading state.Reading[subscriber]
	err     error
}

func (s stored) Read(context.Context, string) (state.Reading[subscriber], error) {
	return s.reading, s.err
}

// inventoryOf shows a subscriber of class gold, at a time.
func inventoryOf(t *testing.T, s stored, now string) *inventory {
	p, err := newPeers(DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return &inventory{
		records: s, peers: p, clock: func() time.Time { return moment(now) },
		catalogs: &catalogs{cache: []*catalog{catalogOf(t, 3, gold(renews("Europe/Berlin", 1)))}},
	}
}

func blockedSubscriber() state.Reading[subscriber] {
	p := newTurn()
	p.begin(spend.Data, p.catalog.class("acme", "gold").offers[spend.Data], initial{}, becauseActivation)
	p.used(&eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: units("50")})
	p.sub.revision = 2
	return state.Reading[subscriber]{Body: p.sub, Exists: true, Sequence: 42, Revision: 3, Time: p.at, Staleness: 300 * time.Millisecond}
}

func get(v *inventory, ctx context.Context) (*optionsv1.DataSafeguard, error) {
	return v.GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(msisdn)})
}

func TestAReadAppliesRenewalsThatAreDueByTheClock(t *testing.T) {
	before, err := get(inventoryOf(t, stored{reading: blockedSubscriber()}, "2026-03-31T21:59"), t.Context())
	if err != nil || !before.GetReached() || amount(before.GetSpent()) != "50" || before.GetRevision() != 2 || before.GetSequence() != 42 || before.GetStaleness().AsDuration() != 300*time.Millisecond {
		t.Errorf("a minute before: %v, %v", before, err)
	}
	after, err := get(inventoryOf(t, stored{reading: blockedSubscriber()}, "2026-05-31T22:00"), t.Context())
	if err != nil || after.GetReached() || amount(after.GetSpent()) != "0" || after.GetRevision() != 3 ||
		!after.GetPeriodStart().AsTime().Equal(moment("2026-05-31T22:00")) || !after.GetPeriodEnd().AsTime().Equal(moment("2026-06-30T22:00")) {
		t.Errorf("three periods later: %v, %v", after, err)
	}
}

func TestWhatCannotBeToldIsRebuilding(t *testing.T) {
	forwardedCall := metadata.NewIncomingContext(t.Context(), metadata.Pairs(forwarded, "1"))
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
	}{
		{"while the partition is rebuilt", t.Context(), state.ErrUnknown},
		{"while the store does not answer", t.Context(), errors.New("no answer from the store")},
		{"where a call was sent on to a replica that is not the owner either", forwardedCall, &state.NotOwnerError{Address: "127.0.0.1:1"}},
		{"where the owner does not answer", t.Context(), &state.NotOwnerError{Address: "127.0.0.1:1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := get(inventoryOf(t, stored{err: test.err}, "2026-03-31T00:00"), test.ctx)
			if fault.ReasonOf(err) != "REBUILDING" || status.Code(fault.Status(err).Err()) != codes.Unavailable {
				t.Fatalf("%v", err)
			}
			if e, ok := errors.AsType[*fault.Error](err); !ok || e.RetryAfter <= 0 {
				t.Errorf("no word about when to ask again: %v", err)
			}
		})
	}
}
