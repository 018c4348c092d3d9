package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/tollgate/ledger"
)

// verdict counts what is wrong.
type verdict struct {
	// lost are outcomes of the model that nobody was told, and counters that are too low.
	lost int
	// doubled are outcomes that were told besides: one crossing under two ids, one id with two contents, what the model
	// does not know; and counters that are too high.
	doubled int
	// outOfOrder are first appearances behind a later one of their subject, or whose previous sequence is not that of the
	// one before.
	outOfOrder int

	first, repeats int
	examples       []string
}

func (v *verdict) add(count *int, format string, args ...any) {
	*count++
	const enough = 20
	if len(v.examples) < enough {
		v.examples = append(v.examples, fmt.Sprintf(format, args...))
	}
}

// judge reads everything that was told, and every counter.
func judge(ctx context.Context, b *bed, t *traffic) (*verdict, error) {
	v := &verdict{}
	// Counters first: once they are readable every partition has committed what it published.
	if err := v.counters(ctx, b, t); err != nil {
		return nil, err
	}
	var log []stream.Record
	for p := range partitions {
		tail := b.fleet.Follow(stream.Safeguards, int32(p))
		for {
			records, err := tail.Read(ctx)
			if err != nil {
				return nil, err
			}
			if len(records) == 0 {
				break
			}
			log = append(log, records...)
		}
	}
	want := map[string][]ledger.Told{}
	for _, p := range t.people {
		want[p.msisdn] = p.account.Told
	}
	return v, v.outcomes(log, want)
}

func (v *verdict) counters(ctx context.Context, b *bed, t *traffic) error {
	conn, err := b.fleet.Dial(b.replicas[0].Address("grpc"))
	if err != nil {
		return err
	}
	inventory := optionsv1.NewOptionInventoryServiceClient(conn)
	for i, p := range t.people {
		spent, blocked, err := standing(ctx, inventory, p)
		if err != nil {
			return err
		}
		// The batch that told the last outcome is committed a moment later.
		for try := 0; spent != p.account.Spent && try < 40 && i < 100; try++ {
			pause(ctx, 50*time.Millisecond)
			if spent, blocked, err = standing(ctx, inventory, p); err != nil {
				return err
			}
		}
		switch {
		case spent < p.account.Spent:
			v.add(&v.lost, "%s spent %d by the service and %d by the model", p.msisdn, spent, p.account.Spent)
		case spent > p.account.Spent:
			v.add(&v.doubled, "%s spent %d by the service and %d by the model", p.msisdn, spent, p.account.Spent)
		case blocked != p.account.Blocked:
			v.add(&v.lost, "%s is blocked: %t by the service and %t by the model", p.msisdn, blocked, p.account.Blocked)
		}
	}
	return nil
}

func standing(ctx context.Context, inventory optionsv1.OptionInventoryServiceClient, p *person) (int64, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		res, err := inventory.GetDataSafeguard(ctx, &optionsv1.GetDataSafeguardRequest{Name: "tenants/acme/subscribers/" + p.msisdn + "/options/dataSafeguard"})
		if err == nil {
			return nanosOf(res.GetSpent()), res.GetReached(), nil
		}
		// A partition that has just found its owner answers soon.
		if !pause(ctx, 100*time.Millisecond) {
			return 0, false, fmt.Errorf("read the counter of %s: %w", p.msisdn, err)
		}
	}
}

func nanosOf(m *money.Money) int64 { return m.GetUnits()*ledger.Unit + int64(m.GetNanos()) }

// outcomes holds what was told, by subscriber, against the model. The log is that of all partitions, each in order.
func (v *verdict) outcomes(log []stream.Record, want map[string][]ledger.Told) error {
	ids := map[string][]byte{}
	told := map[string][]ledger.Told{}
	last := map[string]int64{}
	for _, r := range log {
		id, _ := r.Header("ce_id")
		kind, _ := r.Header("ce_type")
		if strings.HasPrefix(string(kind), "system.") {
			continue
		}
		if before, again := ids[string(id)]; again {
			v.repeats++
			if !bytes.Equal(before, r.Value) {
				v.add(&v.doubled, "outcome %s stands there with two contents", id)
			}
			continue
		}
		ids[string(id)] = r.Value
		v.first++
		var e eventv1.Event
		var s eventv1.Safeguard
		if err := errors.Join(proto.Unmarshal(r.Value, &e), e.GetData().UnmarshalTo(&s)); err != nil {
			return fmt.Errorf("read outcome %s: %w", id, err)
		}
		subject := e.GetSubject()
		if s.GetSequence() <= last[subject] || s.GetPreviousSequence() != last[subject] {
			v.add(&v.outOfOrder, "%s: sequence %d, which says it follows %d, comes after %d", subject, s.GetSequence(), s.GetPreviousSequence(), last[subject])
		}
		last[subject] = max(last[subject], s.GetSequence())
		told[subject] = append(told[subject], ledger.Told{
			Kind: strings.TrimPrefix(e.GetType(), "safeguard."), Cause: s.GetCause().GetEvent().GetId(),
			Spent: nanosOf(s.GetSpent()), Blocked: s.GetBlocked(), Overshoot: nanosOf(s.GetOvershoot()),
		})
	}
	for subject := range told {
		if _, known := want[subject]; !known {
			v.add(&v.doubled, "%s was told something, and nobody knows it", subject)
		}
	}
	for subject, chain := range want {
		v.compare(subject, chain, told[subject])
	}
	return nil
}

// compare holds one subscriber's outcomes against the model's.
func (v *verdict) compare(subject string, want, got []ledger.Told) {
	places := make(map[ledger.Told]int, len(want))
	for i, w := range want {
		places[w] = i // no two are equal: a cause tells each kind once
	}
	seen := make([]bool, len(want))
	furthest := -1
	for _, g := range got {
		i, known := places[g]
		switch {
		case !known:
			v.add(&v.doubled, "%s was told %+v, which the model does not know", subject, g)
			continue
		case seen[i]:
			v.add(&v.doubled, "%s was told %+v under two ids", subject, g)
			continue
		case i < furthest:
			v.add(&v.outOfOrder, "%s was told %+v after %+v", subject, g, want[furthest])
		}
		seen[i] = true
		furthest = max(furthest, i)
	}
	for i := range want {
		if !seen[i] {
			v.add(&v.lost, "%s was not told %+v; got %d of %d outcomes", subject, want[i], len(got), len(want))
		}
	}
}
