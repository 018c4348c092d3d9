package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/fold/replay"
	"github.com/tollgate/tollgate/pkg/spend"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
)

// compared is how many records are read from the store at once.
const compared = 500

// Verify recomputes the counters of one partition from its log, and reports those that differ from what is stored.
func (v *audit) Verify(req *optionsv1.VerifyRequest, out grpc.ServerStreamingServer[optionsv1.VerifyResponse]) error {
	var f fault.Violations
	tenantIn(&f, "tenant", req.GetTenant())
	v.partitionIn(&f, req.GetPartition())
	if n := req.GetPerMille(); n < 0 || n > 1000 {
		f.AddAs(account.ReasonRequest, "per_mille", "must be from 0 to 1000, is %d", n)
	}
	if err := f.ErrShared(account.ReasonRequest); err != nil {
		return err
	}
	done, err := v.alone(out.Context())
	if err != nil {
		return err
	}
	defer done()
	w, _, err := v.engine.Stored(out.Context(), req.GetPartition())
	if err != nil {
		return unreadable(err)
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	defer cancel(nil)
	r, err := replay.OfEngine(ctx, v.engine, req.GetPartition(), replay.Config[account.Subscriber, *account.Catalog]{
		Until: w.Offset,
		Progress: func(offset int64) {
			if err := out.Send(&optionsv1.VerifyResponse{Offset: offset, EndOffset: w.Offset}); err != nil {
				cancel(err)
			}
		},
	})
	if err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	c := comparison{audit: v, req: req, replayed: r, seen: map[string]bool{}, out: out}
	if err := c.run(out.Context()); err != nil {
		return err
	}
	return out.Send(&optionsv1.VerifyResponse{
		Offset: w.Offset, EndOffset: w.Offset, Subscribers: c.subscribers, Partial: r.Partial(), Done: true,
	})
}

// comparison is of a partition recomputed with the partition as stored.
type comparison struct {
	*audit
	req      *optionsv1.VerifyRequest
	replayed *replay.Result[account.Subscriber, *account.Catalog]
	out      grpc.ServerStreamingServer[optionsv1.VerifyResponse]
	// seen are those compared already: a walk through the store may come to one twice.
	seen        map[string]bool
	subscribers int64
}

// run compares what was recomputed, and then what only the store has.
func (c *comparison) run(ctx context.Context) error {
	var some []string
	for key := range c.replayed.All() {
		if some = append(some, key); len(some) == compared {
			if err := c.compare(ctx, some); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	if err := c.compare(ctx, some); err != nil {
		return err
	}
	for cursor, more := "", true; more; more = cursor != "" {
		var err error
		if some, cursor, err = c.engine.Subjects(ctx, c.req.GetPartition(), cursor, compared); err != nil {
			return unreadable(err)
		}
		for ; len(some) > compared; some = some[compared:] {
			if err := c.compare(ctx, some[:compared]); err != nil {
				return err
			}
		}
		if err := c.compare(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// wanted is whether a subscriber is the tenant's, and in the share that is verified: always the same one.
func (c *comparison) wanted(key string) bool {
	share := uint64(c.req.GetPerMille())
	return account.TenantOf(key) == c.req.GetTenant() && !c.seen[key] && (share == 0 || xxhash.Sum64String(key)%1000 < share)
}

func (c *comparison) compare(ctx context.Context, keys []string) error {
	var some []string
	for _, key := range keys {
		if c.wanted(key) {
			some, c.seen[key] = append(some, key), true
		}
	}
	if len(some) == 0 {
		return nil
	}
	_, stored, err := c.engine.Stored(ctx, c.req.GetPartition(), some...)
	if err != nil {
		return unreadable(err)
	}
	m := &optionsv1.VerifyResponse{Offset: c.replayed.Watermark.Offset, EndOffset: c.replayed.Watermark.Offset}
	for i, key := range some {
		differences, known, err := c.differences(key, stored[i])
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		if known {
			c.subscribers++
			m.Differences = append(m.Differences, differences...)
		}
	}
	if m.Subscribers = c.subscribers; len(m.GetDifferences()) == 0 {
		return nil
	}
	return c.out.Send(m)
}

// differences are those of one subscriber; not known where it has changed since the replay's end.
func (c *comparison) differences(key string, of fold.Stored) (all []*optionsv1.VerifiedDifference, known bool, err error) {
	is, exists, known, err := c.replayed.Stood(key, of.Record, of.SideRecord)
	if err != nil || !known {
		return nil, known, err
	}
	should, due := c.replayed.Body(key)
	tenant, msisdn, _ := strings.Cut(key, "/")
	at := subject{tenant, msisdn}
	compare := func(o spend.Option, what, stored, recomputed string) {
		if stored != recomputed {
			all = append(all, &optionsv1.VerifiedDifference{Name: at.name(), Option: account.OptionOnWire(o), Difference: what + ": stored " + stored + ", recomputed " + recomputed})
		}
	}
	if exists != due {
		compare(account.AnyOption, "record", presence(exists), presence(due))
		return all, true, nil
	}
	if !exists || is.Equal(&should) {
		return nil, true, nil
	}
	compare(account.AnyOption, "life", is.Life.String(), should.Life.String())
	compare(account.AnyOption, "class of service", is.Class, should.Class)
	for o := range spend.Option(spend.Options) {
		a, b := &is.Options[o], &should.Options[o]
		compare(o, "state", a.State.String(), b.State.String())
		compare(o, "spent", a.Count.Spent.String()+" "+a.Currency, b.Count.Spent.String()+" "+b.Currency)
		compare(o, "limit", limitShown(a), limitShown(b))
		compare(o, "blocked", fmt.Sprint(a.Blocked), fmt.Sprint(b.Blocked))
		compare(o, "period", periodShown(a), periodShown(b))
	}
	if len(all) == 0 {
		compare(account.AnyOption, "record", fmt.Sprintf("%x", is.Encode(nil)), fmt.Sprintf("%x", should.Encode(nil)))
	}
	return all, true, nil
}

func presence(there bool) string {
	if there {
		return "there"
	}
	return "missing"
}

func limitShown(o *account.Option) string {
	if !o.Limited {
		return "none"
	}
	return o.Limit.String() + " " + o.Currency
}

func periodShown(o *account.Option) string {
	return o.Period.Start.Format(time.RFC3339) + " to " + o.Period.End.Format(time.RFC3339)
}
