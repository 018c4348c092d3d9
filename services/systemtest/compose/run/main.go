// Command run builds the images of the product and runs the containers of docker-compose.yml, every one of ours, on this
// machine's network beside a Kafka and a Redis of its own: from an empty machine to the first verified webhook. Then it
// kills one container of each consumer, one after the other, and counts what arrives. It exits 1 where an event is lost,
// arrives under two ids, or an image is too large.
//
// No image is pulled: those of servers and of profile observability are not run. An engine that answers is used; else root
// starts one of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

func main() {
	rate := flag.Int("rate", 50, "events a second")
	flag.Parse()
	if err := fleet.InFolder("tollgate-compose-", func(dir string) error { return run(daemon.UntilSignal(), dir, *rate) }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, rate int) (err error) {
	e, err := openEngine(ctx, dir)
	if err != nil {
		return err
	}
	defer fleet.End(ctx, &err, e.close)
	if err := e.images(ctx); err != nil {
		return err
	}
	servers := map[string]string{}
	for name, port := range map[string]string{fleet.Kafka: "9092", fleet.Redis: "6379"} {
		server, err := fleet.StartServer(ctx, name, filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer fleet.End(ctx, &err, server.Stop)
		servers[name+":"+port] = server.Address()
	}
	mail, err := startMail(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mail.close()) }()
	servers["mail:1025"] = mail.address()

	p, err := open(ctx, e, servers)
	if err != nil {
		return err
	}
	defer fleet.End(ctx, &err, p.close)
	begun := time.Now()
	if err := p.up(ctx); err != nil {
		return errors.Join(err, p.logs(ctx, dir))
	}
	fleet.Report("%d containers are healthy after %.1f s", len(p.started), time.Since(begun).Seconds())
	if err := journey(ctx, p, mail, begun, rate); err != nil {
		return errors.Join(err, p.logs(ctx, dir))
	}
	return e.tooLarge
}

// journey is the demo's first webhook, then the traffic that is counted.
func journey(ctx context.Context, p *product, mail *mailServer, begun time.Time, rate int) (err error) {
	t, err := openTraffic(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	// The demo goes on once its own revision, which comes after that of the traffic, is in force in every partition.
	out, err := p.demo(ctx)
	if err != nil {
		return err
	}
	if !strings.Contains(out, "signature verified") {
		return fmt.Errorf("the demo has verified no webhook:\n%s", out)
	}
	fmt.Printf("first verified webhook: %.1f s after the first container was started\n", time.Since(begun).Seconds())
	events, err := t.run(ctx, rate)
	if err != nil {
		return err
	}
	if err := mail.await(ctx); err != nil {
		return err
	}
	fmt.Printf("events sent: %d, each delivered and verified; webhooks that came again under their id: %d; containers killed: %d\n", events, t.repeats(), len(victims))
	return nil
}
