package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/cli"
)

// setBacks sets the configuration back to an older copy of its database.
type setBacks struct {
	bed     *bed
	catalog *catalog
	// older is a folder with the copy, times how many there were.
	older    string
	times    int
	accepted int
}

// newSetBacks takes the first copy.
func newSetBacks(ctx context.Context, b *bed, c *catalog) (*setBacks, error) {
	s := &setBacks{bed: b, catalog: c, older: filepath.Join(b.fleet.Dir(), "copy-0")}
	b.config.Kill()
	if err := s.copy(filepath.Dir(b.fleet.Database()), s.older); err != nil {
		return nil, err
	}
	return s, b.config.Restart(ctx)
}

// copy brings the files of a database that is not open from one folder to another.
func (s *setBacks) copy(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	for _, part := range []string{"", "-wal", "-shm"} {
		name := filepath.Base(s.bed.fleet.Database()) + part
		content, err := os.ReadFile(filepath.Join(from, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = os.RemoveAll(filepath.Join(to, name))
		case err == nil:
			err = os.WriteFile(filepath.Join(to, name), content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("copy database: %w", err)
		}
	}
	return nil
}

// run changes the configuration, kills its service a moment later, when most replicas have the change, and starts it with
// the copy. With unaware, the configuration is changed before a replica notices. Then it does what an operator has to do. With
// swap, the next time sets it back to what was lost now. Nothing else changes the configuration meanwhile.
func (s *setBacks) run(ctx context.Context, unaware, swap bool) error {
	s.catalog.mu.Lock()
	defer s.catalog.mu.Unlock()
	if err := s.catalog.change(ctx); err != nil {
		return err
	}
	pause(ctx, time.Second) // replicas are likely to have it then, but not certain to
	s.bed.config.Kill()
	s.times++
	folder, lost := filepath.Dir(s.bed.fleet.Database()), filepath.Join(s.bed.fleet.Dir(), fmt.Sprintf("copy-%d", s.times))
	if err := errors.Join(s.copy(folder, lost), s.copy(s.older, folder)); err != nil {
		return err
	}
	if swap {
		s.older = lost
	}
	if err := s.bed.config.Restart(ctx); err != nil {
		return err
	}
	report("the configuration is set back")
	if unaware {
		if err := s.catalog.change(ctx); err != nil {
			return err
		}
	}
	if err := s.operate(ctx); err != nil {
		return err
	}
	return s.catalog.change(ctx)
}

// operate accepts the restore once all replicas have reported their revisions, and once more for one that did not follow.
func (s *setBacks) operate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rest)
	defer cancel()
	if err := s.watched(ctx); err != nil {
		return err
	}
	for {
		if err := s.accept(ctx); err != nil {
			return err
		}
		following, done := context.WithTimeout(ctx, 20*time.Second)
		err := s.bed.readyBy(following)
		done()
		switch {
		case err == nil:
			report("the restore is accepted and followed")
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("a restore was accepted and is not followed: %w", err)
		}
	}
}

// watched waits until every replica follows the configuration again: it reports what it knows then. Ingest asks, and does
// not follow.
func (s *setBacks) watched(ctx context.Context) error {
	all := fmt.Sprintf("\ntollgate_config_watchers %d\n", len(s.bed.replicas))
	for {
		metrics, err := s.bed.config.Metrics(ctx)
		if err == nil && strings.Contains(metrics, all) {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return fmt.Errorf("wait for services to follow the configuration: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// accept accepts the restore. Its revision is above every revision that was given before.
func (s *setBacks) accept(ctx context.Context) error {
	var out bytes.Buffer
	args := []string{
		"config", "accept-restore", "--config", s.bed.config.Address("grpc"), "--api-key", s.bed.fleet.Key, "--yes",
		"--why", "the database was set back to an older copy",
	}
	if code := cli.Run(ctx, args, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, time.Now()); code != 0 {
		return fmt.Errorf("accept a restore: it ended with %d: %s", code, out.String())
	}
	if !strings.Contains(out.String(), "accepted: ") {
		return nil
	}
	s.accepted++
	highest := s.catalog.highest
	if err := s.catalog.note(ctx, 0); err != nil {
		return err
	}
	if s.catalog.highest <= highest {
		s.catalog.twice = append(s.catalog.twice, fmt.Sprintf("a restore was accepted and the configuration did not go on above revision %d, which was given before", highest))
	}
	return nil
}
