// Command bench measures the configuration at its size: how long services take to have ten thousand notifications and a hundred
// thousand endpoints (config.load_seconds), how much memory each takes then (config.memory_bytes), and how long a change of one
// notification takes until every partition of the log works by it (config.change_p99_ms). PostgreSQL, Kafka, Redis and the
// services are processes of their own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/bench"
	"github.com/tollgate/tollgate/services/systemtest/figure"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// options of a whole benchmark.
type options struct {
	runs, tenants, notifications, endpoints, changes int
	profiles                                         string
}

func main() {
	var o options
	flag.IntVar(&o.runs, "runs", 3, "loads of each service, of which the median is taken")
	flag.IntVar(&o.tenants, "tenants", 10, "tenants that share them")
	flag.IntVar(&o.notifications, "notifications", 10_000, "notifications of all tenants")
	flag.IntVar(&o.endpoints, "endpoints", 100_000, "endpoints of all tenants")
	flag.IntVar(&o.changes, "changes", 100, "changes that are measured")
	flag.StringVar(&o.profiles, "profiles", "", "a `folder` for what each service has in memory and has allocated, after the load and after the changes")
	flag.Parse()
	if o.runs < 1 || o.tenants < 1 || o.notifications < o.tenants || o.endpoints < o.tenants || o.changes < 1 {
		fmt.Fprintln(os.Stderr, "every number must be at least 1, and each tenant needs a notification and an endpoint")
		os.Exit(2)
	}
	if err := fleet.InFolder("tollgate-bench-", func(dir string) error { return measure(daemon.UntilSignal(), dir, o) }); err != nil {
		fmt.Fprintln(os.Stderr, "invalid run:", err)
		os.Exit(1)
	}
}

// bed is what is measured on.
type bed struct {
	options
	kafka, redis, postgres *fleet.Server
	fleet                  *fleet.Fleet
	on                     string
	config                 *fleet.Member
}

func measure(ctx context.Context, dir string, o options) (err error) {
	b := &bed{options: o}
	defer func() { fleet.End(ctx, &err, b.stop) }()
	if err := b.start(ctx, dir); err != nil {
		return err
	}
	if err := b.load(ctx); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := b.change(ctx); err != nil {
		return fmt.Errorf("change: %w", err)
	}
	return nil
}

func (b *bed) start(ctx context.Context, dir string) (err error) {
	fleet.Report("building")
	binaries := filepath.Join(dir, "bin")
	if err := fleet.Build(ctx, binaries, "config", "trigger", "webhook"); err != nil {
		return err
	}
	for kind, server := range map[string]**fleet.Server{fleet.Kafka: &b.kafka, fleet.Redis: &b.redis, fleet.Postgres: &b.postgres} {
		if *server, err = fleet.StartServer(ctx, kind, filepath.Join(dir, kind)); err != nil {
			return err
		}
	}
	if b.on, err = fleet.On(ctx, b.kafka, b.redis); err != nil {
		return err
	}
	if b.fleet, err = fleet.Open(ctx, fleet.Config{
		Brokers: []string{b.kafka.Address()}, Redis: b.redis.Address(), Postgres: b.postgres.Address(),
		Dir: filepath.Join(dir, "fleet"), Partitions: 8, Binaries: binaries,
	}); err != nil {
		return err
	}
	fleet.Report("filling PostgreSQL")
	return b.fill(ctx, dir)
}

func (b *bed) stop(ctx context.Context) error {
	var faults []error
	if b.fleet != nil {
		faults = append(faults, b.fleet.Close(ctx))
	}
	for _, s := range []*fleet.Server{b.redis, b.kafka, b.postgres} {
		if s != nil {
			faults = append(faults, s.Stop(ctx))
		}
	}
	return errors.Join(faults...)
}

func (b *bed) print(f figure.Figure) error {
	f.On = b.on + ", PostgreSQL with fsync"
	fleet.Report("%s is %g %s", f.Name, f.Value, f.Unit)
	return figure.Print(os.Stdout, f)
}

// size is what the figures are of, in words.
func (b *bed) size() string {
	return fmt.Sprintf("%d notifications and %d endpoints of %d tenants", b.notifications, b.endpoints, b.tenants)
}

// load measures each service from the start of its process until it has everything, and prints the slowest: config, until a
// client has read all of it, and trigger, until all notifications are compiled.
func (b *bed) load(ctx context.Context) (err error) {
	var times [2][]float64
	f := figure.Figure{Name: "config.load_seconds", Unit: "s", Goal: 5, Better: "lower"}
	if b.config, err = b.fleet.Start(ctx, "config"); err != nil {
		return err
	}
	trigger, err := b.fleet.Start(ctx, "trigger")
	if err != nil {
		return err
	}
	for i := range b.runs {
		if err := errors.Join(trigger.Stop(ctx), b.config.Stop(ctx)); err != nil {
			return err
		}
		began := time.Now()
		if err := errors.Join(b.config.Restart(ctx), b.read(ctx)); err != nil {
			return err
		}
		times[0] = append(times[0], time.Since(began).Seconds())
		began = time.Now()
		if err := errors.Join(trigger.Restart(ctx), b.compiled(ctx, trigger)); err != nil {
			return err
		}
		times[1] = append(times[1], time.Since(began).Seconds())
		f.Runs = append(f.Runs, fmt.Sprintf("config %.2f s, trigger %.2f s", times[0][i], times[1][i]))
		fleet.Report("load %d: %s", i+1, f.Runs[i])
	}
	f.Value = figure.Round(max(figure.Median(times[0]), figure.Median(times[1])))
	f.Note = b.size() + "; the slower of config, from the start of its process until a client has read all of it, and trigger, until all is compiled"
	return errors.Join(b.print(f), trigger.Stop(ctx))
}

// read reads the newest revision whole, as a service does.
func (b *bed) read(ctx context.Context) error {
	conn, err := b.fleet.Dial(b.config.Address("grpc"))
	if err != nil {
		return err
	}
	parts, err := configv1.NewConfigWatchServiceClient(conn).Snapshot(ctx, &configv1.SnapshotRequest{})
	if err != nil {
		return err
	}
	s, err := configclient.Collect(parts, nil)
	if err == nil && (len(s.GetEndpoints()) != b.endpoints || len(s.GetNotifications()) != b.notifications) {
		err = fmt.Errorf("%d endpoints and %d notifications were read", len(s.GetEndpoints()), len(s.GetNotifications()))
	}
	return err
}

func (b *bed) compiled(ctx context.Context, trigger *fleet.Member) error {
	for {
		n, err := bench.Metric(ctx, trigger, "tollgate_trigger_notifications")
		if err != nil || int(n) == b.notifications {
			return err
		}
		if err := bench.Pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%.0f of %d notifications are compiled: %w", n, b.notifications, err)
		}
	}
}

// change measures from a call until the record of its revision is in every partition of the log, while trigger and webhook follow.
func (b *bed) change(ctx context.Context) error {
	var members []*fleet.Member
	for _, name := range []string{"trigger", "webhook"} {
		m, err := b.fleet.Start(ctx, name)
		if err != nil {
			return err
		}
		members = append(members, m)
	}
	for _, m := range members {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	all := append(members[:2:2], b.config)
	if err := errors.Join(b.resident("ready", all), b.profile(ctx, "ready", all)); err != nil {
		return err
	}
	conn, err := b.fleet.Dial(b.config.Address("grpc"))
	if err != nil {
		return err
	}
	notes := configv1.NewNotificationServiceClient(conn)
	var times []float64
	for i := range b.changes + 1 {
		began := time.Now()
		made, err := notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{
			Notification: &configv1.Notification{Name: b.notification(i * 7 % b.notifications), Description: fmt.Sprint("change ", i)},
			UpdateMask:   &fieldmaskpb.FieldMask{Paths: []string{"description"}},
		})
		if err != nil {
			return err
		}
		answered := time.Since(began)
		if err := b.fleet.AwaitRevision(ctx, stream.EventsOrdered, made.GetMetadata().GetRevision()); err != nil {
			return err
		}
		took := time.Since(began)
		if i > 0 { // the first waits for what services read at their start
			times = append(times, float64(took.Milliseconds()))
		}
		if i%10 == 0 {
			fleet.Report("change %d: answered after %s, in force after %s", i, answered.Round(time.Millisecond), took.Round(time.Millisecond))
		}
	}
	slices.Sort(times)
	p99 := times[(len(times)*99+99)/100-1]
	note := fmt.Sprintf("%s; %d changes of one notification, one after the other, from the call until its record is in each of 8 partitions; half of them within %.0f ms",
		b.size(), b.changes, figure.Median(times))
	return errors.Join(
		b.resident("changed", all), b.profile(ctx, "changed", all),
		b.print(figure.Figure{Name: "config.change_p99_ms", Value: figure.Round(p99), Unit: "ms", Goal: 1000, Better: "lower", Note: note}),
		b.memory(all),
	)
}

// memory prints the most that a service has had at once.
func (b *bed) memory(members []*fleet.Member) error {
	f := figure.Figure{Name: "config.memory_bytes", Unit: "bytes", Goal: 300e6, Better: "lower"}
	for _, m := range members {
		n, err := m.PeakMemory()
		if err != nil {
			return err
		}
		f.Runs = append(f.Runs, fmt.Sprintf("%s %.0f MB", m.Name, float64(n)/1e6))
		f.Value = max(f.Value, float64(n))
	}
	f.Note = b.size() + "; the peak of the resident memory of the service that takes most, after the changes"
	f.Value = figure.Round(f.Value)
	return b.print(f)
}

// profile writes what each service has in memory and has allocated so far, where that is asked for.
func (b *bed) profile(ctx context.Context, when string, members []*fleet.Member) error {
	if b.profiles == "" {
		return nil
	}
	for _, m := range members {
		content, err := m.Heap(ctx)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.profiles, m.Name+"-"+when+".pb.gz"), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// resident reports the memory of each service now and at its most.
func (b *bed) resident(when string, members []*fleet.Member) error {
	for _, m := range members {
		now, err := m.Memory()
		if err != nil {
			return err
		}
		peak, err := m.PeakMemory()
		if err != nil {
			return err
		}
		fleet.Report("%s: %s has %.0f MB, at most %.0f MB", when, m.Name, float64(now)/1e6, float64(peak)/1e6)
	}
	return nil
}
