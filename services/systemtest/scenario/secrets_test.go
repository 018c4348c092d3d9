package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// decrypting are the services that decrypt secrets.
var decrypting = []string{"webhook", "email", "provision"}

// The services that send have another keyset than config: nothing goes out, and each service shows why and what to do. Once the
// right keyset is in their file, what waited goes out: nothing is restarted, and no configuration changes.
func TestSecrets_WhatCanNotBeDecryptedSendsNothingUntilTheKeysetComes(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		own := filepath.Join(f.Dir(), "keyset-of-senders.json")
		if _, err := secret.Create(own); err != nil {
			t.Fatal(err)
		}
		for _, name := range decrypting {
			f.UseKeyset(name, own)
		}
		s := openStarts(t, ctx, f)
		right, err := secret.Open(f.Keyset())
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"SECRET_UNREADABLE", right.Primary().String(), own, "secrets.keyset_file"}
		for _, name := range decrypting {
			s.shows(name, names)
		}
		waiting := s.exceed()
		res := s.decide("k-without")
		if res.GetDecision() != provisionv1.Decision_DECISION_ALLOW || !strings.Contains(fmt.Sprint(res.GetHandlers()), right.Primary().String()) {
			t.Errorf("without the secret of its handler the decision is %v", res)
		}
		for _, name := range decrypting[:2] {
			wait(t, ctx, name+" has tried, and holds", func() bool {
				text, ready, err := s.members[name].Readiness(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return !ready && strings.Contains(text, "are held") && strings.Contains(text, own)
			})
		}
		s.in.mu.Lock()
		if n, l := len(s.in.webhooks), len(s.in.letters); n+l > 0 || s.asked.Load() > 0 {
			t.Errorf("%d webhooks, %d letters and %d questions went out without their secrets", n, l, s.asked.Load())
		}
		s.in.mu.Unlock()

		content, err := os.ReadFile(f.Keyset())
		if err == nil {
			err = os.WriteFile(own+".next", content, 0o600)
		}
		if err == nil {
			err = os.Rename(own+".next", own)
		}
		if err != nil {
			t.Fatal(err)
		}
		if endpoint, text := s.reported(waiting); endpoint != "first" || text != "first" {
			t.Errorf("what waited went out as %s and %s", endpoint, text)
		}
		tries := 0
		wait(t, ctx, "the handler is asked", func() bool {
			tries++
			return s.decide(fmt.Sprint("k-with-", tries)).GetReason() == "first"
		})
		for _, name := range decrypting {
			wait(t, ctx, name+" has nothing to show any more", func() bool {
				text, ready, err := s.members[name].Readiness(ctx)
				if err != nil {
					t.Fatal(err)
				}
				return ready && !strings.Contains(text, "SECRET_UNREADABLE")
			})
		}
	})
}

// shows waits until /readyz, the metric and the log of a service have an incident with all these parts.
func (s *started) shows(name string, parts []string) {
	s.t.Helper()
	m := s.members[name]
	has := func(text string, parts ...string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
	}
	wait(s.t, s.ctx, name+" shows what to do", func() bool {
		readiness, _, err := m.Readiness(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		metrics, err := m.Metrics(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		log, err := m.Log()
		if err != nil {
			s.t.Fatal(err)
		}
		return has(readiness, parts...) && has(metrics, fmt.Sprintf(`tollgate_%s_incidents_total{kind=%q}`, name, parts[0])) && has(string(log), parts[0], parts[3], filepath.Base(parts[2])) // numbers are masked there
	})
}

// A journey with every kind of secret: none lies in clear in Redis, in a topic, in a log, in the database, or in what a service
// shows. What must be there is found, so what is looked at is what lies there.
func TestSecrets_AreNowhereInClearAfterAJourney(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		s := openStarts(t, ctx, f)
		if got := s.round(); got != allOf("first") {
			t.Fatalf("the journey: %+v", got)
		}
		s.change("second") // so there are old versions, and what differs
		s.follow("second")
		lies := s.everywhere()
		hidden := s.secrets()
		for where, content := range lies {
			for _, clear := range hidden {
				if bytes.Contains(content, []byte(clear)) {
					t.Errorf("%s holds %q in clear", where, clear)
				}
			}
		}
		for where, text := range map[string]string{
			"Redis": "447700900001", "topic events.ordered": "447700900001", "topic deliveries.webhook": "/endpoints/crm", "topic audit": "tenants/acme/hooks/check",
			"file config.log": "listening", "the database": "tenants/acme/endpoints/crm", "metrics of webhook": "tollgate_webhook_",
		} {
			if !bytes.Contains(lies[where], []byte(text)) {
				t.Errorf("%s lacks %s: what is looked at is not what lies there; there are %v", where, text, slices.Sorted(maps.Keys(lies)))
			}
		}
	})
}

// everywhere is all that the installation has left anywhere, by place. Files that hold a key for its owner are left out.
func (s *started) everywhere() map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{"Redis": s.inRedis()}
	auditor, err := s.fleet.Kafka("auditor")
	if err != nil {
		s.t.Fatal(err)
	}
	defer auditor.Close()
	for _, topic := range table.Topics(s.fleet.Partitions()) {
		var content []byte
		for _, r := range streamtest.Await(s.ctx, s.t, auditor, topic.Name, func([]stream.Record) bool { return true }) {
			content = append(append(append(content, r.Key...), r.Value...), fmt.Sprintf("%s", r.Headers)...)
		}
		all["topic "+topic.Name] = content
	}
	for name, m := range s.members {
		metrics, err := m.Metrics(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		readiness, _, err := m.Readiness(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		all["metrics of "+name] = []byte(metrics + readiness)
	}
	root := os.DirFS(s.fleet.Dir())
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path == "keyset.json" || path == "api-key" {
			return err
		}
		content, err := fs.ReadFile(root, path)
		where := "file " + path
		if strings.HasPrefix(path, "database/") {
			where = "the database" // what is new lies in a file beside it
		}
		all[where] = append(all[where], content...)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// inRedis is every key of the installation with its value.
func (s *started) inRedis() (all []byte) {
	s.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.fleet.Redis()})
	defer client.Close()
	read := func(key string) (any, error) {
		kind, err := client.Type(s.ctx, key).Result()
		if err != nil {
			return nil, err
		}
		switch kind {
		case "none": // it went meanwhile
			return nil, nil
		case "string":
			content, err := client.Get(s.ctx, key).Result()
			if errors.Is(err, redis.Nil) {
				return nil, nil
			}
			return content, err
		case "hash":
			return client.HGetAll(s.ctx, key).Result()
		case "list":
			return client.LRange(s.ctx, key, 0, -1).Result()
		case "set":
			return client.SMembers(s.ctx, key).Result()
		case "zset":
			return client.ZRange(s.ctx, key, 0, -1).Result()
		}
		return nil, fmt.Errorf("%s is a %s, which is not looked into", key, kind)
	}
	keys := client.Scan(s.ctx, 0, "*"+s.fleet.Prefix+":*", 1000).Iterator()
	for keys.Next(s.ctx) {
		content, err := read(keys.Val())
		if err != nil {
			s.t.Fatal(err)
		}
		all = fmt.Appendf(all, "%s %v\n", keys.Val(), content)
	}
	if err := keys.Err(); err != nil {
		s.t.Fatal(err)
	}
	return all
}
