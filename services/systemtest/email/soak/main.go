// Command soak kills replicas of the email service, and their Redis, Kafka, config and mail server, at random moments, and lets
// replicas stand still past their fence, while e-mail is planned for eight profiles and the mail server fails at random:
// greylisting, answers of 4xx and 5xx at every step, 421, mailboxes that do not exist, connections closed before, within and
// after a message. After each minute everything is mended and all that was planned is compared with what the mail server got
// and what the attempts hold. Package soak has the frame: what it runs on, the rounds, the comparison, the figures.
//
// With the argument "serve" it is the mail server, a process of its own.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/kills"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if err := serve(os.Args[2:], os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "mail server:", err)
			os.Exit(1)
		}
		return
	}
	soak.Main("email", begin)
}

// run is one run of the soak.
type run struct {
	bed      *soak.Bed
	kills    *kills.Kills
	profiles *profiles
	server   *server
}

func begin(ctx context.Context, b *soak.Bed, seed uint64) (*soak.Soak, error) {
	s := &run{bed: b, kills: kills.New(seed)}
	var err error
	if s.server, err = startServer(ctx, filepath.Join(b.Dir, "mail"), seed); err != nil {
		return nil, err
	}
	b.AtEnd(s.server.stop)
	if s.profiles, err = newProfiles(ctx, b, s.server); err != nil {
		return nil, err
	}
	check := soak.NewCheck(b.Fleet, s.server.since)
	return &soak.Soak{
		Check: check, Plan: newPlan(b, check, s.profiles, seed), Kills: s.kills, Kill: s.kill, Mend: s.profiles.mend, Disturb: s.server.disturb, Stringer: s,
	}, nil
}

// String is what the mail server answered.
func (s *run) String() string {
	return fmt.Sprintf("%d profiles; mail server: %s", profileCount, s.server)
}

// kill disturbs until stretch ends, and leaves everything running.
func (s *run) kill(ctx, stretch context.Context) error {
	for pause.For(stretch, s.kills.Between(500*time.Millisecond, 6*time.Second)) {
		err := s.kills.Choose(ctx,
			kills.Choice{Weight: 12, Do: func(ctx context.Context) error { return s.kills.Stall(ctx, s.kills.One(s.bed.Replicas)) }},
			kills.Choice{Weight: 32, Do: func(ctx context.Context) error {
				return s.kills.Member(ctx, "replica", s.kills.One(s.bed.Replicas))
			}},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return s.kills.All(ctx, "replica", s.bed.Replicas) }},
			kills.Choice{Weight: 14, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "redis", s.bed.Redis) }},
			kills.Choice{Weight: 10, Do: func(ctx context.Context) error { return s.kills.Server(ctx, "kafka", s.bed.Kafka) }},
			kills.Choice{Weight: 8, Do: func(ctx context.Context) error { return s.kills.Member(ctx, "config", s.bed.Config) }},
			kills.Choice{Weight: 16, Do: s.killServer},
		)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *run) killServer(ctx context.Context) error {
	s.kills.Count("mail server")
	away := s.kills.Between(0, 3*time.Second)
	fleet.Report("killed mail server, back in %s", away.Round(time.Millisecond))
	if err := s.server.kill(); err != nil {
		return err
	}
	pause.For(ctx, away)
	return s.server.start(ctx)
}
