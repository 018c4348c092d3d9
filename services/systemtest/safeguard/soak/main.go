// Command soak kills replicas of the safeguard service, ingest before it, and their Redis and Kafka at random moments, and
// sets the configuration back to an older copy of its database, while usage comes in and is given back, some of it in
// transactions that are aborted, options are changed and payments charged by call, subscribers come, go, and change class
// and number, now and then to one that is taken, and the catalog changes. At quiet points it folds the log with the model and
// compares everything that can be seen from outside with it: every outcome and rejection, the answers of callers, what a
// network element knows that reads reached and released alone, what Authorize answers, and what the inventory shows.
//
// FOR is how long it kills, SEED repeats the same choices. Standard output has the figures, standard error the progress. It
// exits 1 without a figure where the run shows nothing: a process did not start again, or nothing was killed; and 1 with its
// figures where anything was lost, doubled or out of order.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/daemon"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
)

func main() {
	if err := soak(daemon.UntilSignal()); err != nil {
		fmt.Fprintln(os.Stderr, "soak failed:", err)
		os.Exit(1)
	}
}

func soak(ctx context.Context) error {
	length, seed, err := kills.Options()
	if err != nil {
		return err
	}
	fleet.Report("killing for %s, SEED=%d", length, seed)
	return fleet.InFolder("tollgate-soak-", func(dir string) error { return soakIn(ctx, dir, length, seed) })
}

func soakIn(ctx context.Context, dir string, length time.Duration, seed uint64) (err error) {
	b, made, last, err := start(ctx, dir, length)
	defer func() { fleet.End(ctx, &err, b.stop) }()
	if err != nil {
		return err
	}

	t := newTraffic(b.fleet, seed, length)
	if err := t.activate(ctx); err != nil {
		return err
	}
	conn, err := b.fleet.Dial(b.config.Address("grpc"))
	if err != nil {
		return err
	}
	x := newTransactions(b, t, seed)
	c := &callers{bed: b, whom: t.whom}
	ck := newChecker(b, configv1.NewConfigWatchServiceClient(conn))
	cat, err := newCatalog(ctx, configv1.NewClassOfServiceServiceClient(conn), made, last, ck.keep)
	if err != nil {
		return err
	}
	f, err := newFaults(ctx, b, cat, seed)
	if err != nil {
		return err
	}
	from, quiet := time.Now(), time.Duration(0)
	for round := 1; ; round++ {
		left := length - (time.Since(from) - quiet)
		if left <= 0 || ck.wrong() {
			break
		}
		stretch, done := context.WithTimeout(ctx, min(left, between))
		err := kills.Together(
			func() error { return t.run(ctx, stretch.Done()) },
			func() error { return x.run(ctx, stretch.Done()) },
			func() error { return c.run(ctx, stretch.Done(), seed+uint64(round)) },
			func() error { return cat.run(ctx, stretch) },
			func() error { return f.run(stretch, ctx) },
		)
		done()
		if err != nil {
			return err
		}
		paused := time.Now()
		fleet.Report("%d events sent, %d calls answered, %s; quiet now", t.sent, len(c.answers), f)
		if err := b.ready(ctx); err != nil {
			return err
		}
		if err := t.sendMarkers(ctx, round); err != nil {
			return err
		}
		if err := ck.rests(ctx, c.answers); err != nil {
			return err
		}
		fleet.Report("all worked off and compared: %d outcomes, %d repeats, %d numbers; rejected: %v", ck.compared, ck.repeats, len(ck.numbers), ck.rejections)
		t.rests(ck.alive)
		quiet += time.Since(paused)
	}
	took := time.Since(from)
	for id := range t.ids {
		if _, found := ck.seen[id]; !found {
			ck.add(&ck.lost, "event %s was acknowledged and is not in the log", id)
		}
	}
	x.check(ck)
	for _, text := range cat.twice {
		ck.add(&ck.doubled, "%s", text)
	}
	for _, line := range ck.examples {
		fleet.Report("%s", line)
	}
	if f.kills.Total() == 0 {
		return errors.New("nothing was killed: give it a longer time by FOR")
	}
	on, err := fleet.On(ctx, b.kafka, b.redis)
	if err != nil {
		return err
	}
	total := f.kills.Total()
	note := fmt.Sprintf("killed with -9: %s; seed %d; %d subscribers with three options, two replicas; %d calls, asked again %d times; transactions: %s; %d changes of the catalog; %d outcomes first published, %d repeats with the same bytes, %d of %d events were repeats; %d refunds were of more than there was, %d moves to numbers that are active",
		f, seed, t.subscribers, len(c.answers), c.unknown, x, cat.changes, ck.first, ck.repeats, t.repeats, t.sent, ck.rejections["CORRECTS_EXCEEDED"], ck.rejections["TARGET_ACTIVE"])
	return figure.PrintUnbroken(figure.Counted(figure.Figure{
		Name: "soak.safeguard.", On: on, Note: note, Kills: &total, Events: int64(t.sent), Seconds: figure.Round(took.Seconds()),
	}, figure.Counts{Lost: ck.lost, Doubled: ck.doubled, OutOfOrder: ck.outOfOrder})...)
}

// bed is what is tested, and what it runs on.
type bed struct {
	kafka, redis *fleet.Server
	fleet        *fleet.Fleet
	config       *fleet.Member
	ingest       *fleet.Member
	replicas     []*fleet.Member
	conns

	// listen is where replicas listen: they come back elsewhere.
	listen atomic.Pointer[[]string]
}

// address is where a replica listens, or listened before it was killed.
func (b *bed) address(replica int) string { return (*b.listen.Load())[replica] }

func (b *bed) listens() {
	all := make([]string, len(b.replicas))
	for i, m := range b.replicas {
		all[i] = m.Address("grpc")
	}
	b.listen.Store(&all)
}

// between is how long it goes on between two quiet points.
const between = time.Minute

const partitions = 8

// start returns what was configured, and the last revision of it.
func start(ctx context.Context, dir string, length time.Duration) (b *bed, made []proto.Message, last int64, err error) {
	b = &bed{}
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, "config", "ingest", "safeguard"); err != nil {
		return b, nil, 0, err
	}
	if b.kafka, err = fleet.StartServer(ctx, fleet.Kafka, filepath.Join(dir, "kafka")); err != nil {
		return b, nil, 0, err
	}
	if b.redis, err = fleet.StartServer(ctx, fleet.Redis, filepath.Join(dir, "redis")); err != nil {
		return b, nil, 0, err
	}
	if b.fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Dir: filepath.Join(dir, "fleet"), Partitions: partitions, Binaries: binaries,
	}); err != nil {
		return b, nil, 0, err
	}
	b.conns = conns{key: b.fleet.Key, known: map[string]*grpc.ClientConn{}}
	if b.config, err = b.fleet.Start(ctx, "config"); err != nil {
		return b, nil, 0, err
	}
	made = resources(time.Now().UTC(), length)
	last, err = b.fleet.Configure(ctx, made...)
	if err != nil {
		return b, nil, 0, err
	}
	if b.ingest, err = b.fleet.Start(ctx, "ingest"); err != nil {
		return b, nil, 0, err
	}
	for range 2 {
		m, err := b.fleet.Start(ctx, "safeguard")
		if err != nil {
			return b, nil, 0, err
		}
		b.replicas = append(b.replicas, m)
	}
	if err := b.ready(ctx); err != nil {
		return b, nil, 0, err
	}
	b.listens()
	return b, made, last, b.fleet.AwaitRevision(ctx, eventsOrdered, last)
}

// rest bounds what comes after the last kill; it only ends runs that are stuck.
const rest = 5 * time.Minute

func (b *bed) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	return b.readyBy(ctx)
}

// readyBy waits as long as ctx lets it.
func (b *bed) readyBy(ctx context.Context) error {
	for _, m := range append([]*fleet.Member{b.ingest}, b.replicas...) {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stop ends everything that was started, also after a start that failed.
func (b *bed) stop(ctx context.Context) error {
	var faults []error
	b.conns.close()
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	for _, s := range []*fleet.Server{b.redis, b.kafka} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}
