package kills

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

	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/tollgate/cli"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// SetBacks sets the configuration back to an older copy of its database.
type SetBacks struct {
	// Change makes a change of the configuration. Nothing else changes it during Run.
	Change func(context.Context) error
	// Following waits as long as ctx lets it until every replica follows the configuration.
	Following func(context.Context) error
	// Watchers is how many replicas follow it.
	Watchers int
	// Accepted is called after a restore was accepted.
	Accepted func(context.Context) error

	fleet  *fleet.Fleet
	config *fleet.Member
	// older is a folder with the copy.
	older string
	// Times is how often it was set back, Restores how often that was accepted.
	Times, Restores int
}

// NewSetBacks takes the first copy: it ends the config service for a moment.
func NewSetBacks(ctx context.Context, f *fleet.Fleet, config *fleet.Member) (*SetBacks, error) {
	s := &SetBacks{
		Accepted: func(context.Context) error { return nil },
		fleet:    f, config: config, older: filepath.Join(f.Dir(), "copy-0"),
	}
	config.Kill()
	if err := s.copy(filepath.Dir(f.Database()), s.older); err != nil {
		return nil, err
	}
	return s, config.Restart(ctx)
}

// copy brings the files of a database that is not open from one folder to another.
func (s *SetBacks) copy(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("copy database: %w", err)
	}
	for _, part := range []string{"", "-wal", "-shm"} {
		name := filepath.Base(s.fleet.Database()) + part
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

// Run changes the configuration, kills its service a moment later, when most replicas have the change, and starts it with
// the copy. With unaware, the configuration is changed before a replica notices. Then it does what an operator has to do. With
// swap, the next time sets it back to what was lost now.
func (s *SetBacks) Run(ctx context.Context, unaware, swap bool) error {
	if err := s.Change(ctx); err != nil {
		return err
	}
	pause.For(ctx, time.Second) // replicas are likely to have it then, but not certain to
	s.config.Kill()
	s.Times++
	folder, lost := filepath.Dir(s.fleet.Database()), filepath.Join(s.fleet.Dir(), fmt.Sprintf("copy-%d", s.Times))
	if err := errors.Join(s.copy(folder, lost), s.copy(s.older, folder)); err != nil {
		return err
	}
	if swap {
		s.older = lost
	}
	if err := s.config.Restart(ctx); err != nil {
		return err
	}
	fleet.Report("the configuration is set back")
	if unaware {
		if err := s.Change(ctx); err != nil {
			return err
		}
	}
	if err := s.operate(ctx); err != nil {
		return err
	}
	return s.Change(ctx)
}

// patience bounds what an operator waits for; it only ends runs that are stuck.
const patience = 5 * time.Minute

// operate accepts the restore once all replicas have reported their revisions, and once more for one that did not follow.
func (s *SetBacks) operate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.watched(ctx); err != nil {
		return err
	}
	for {
		if err := s.accept(ctx); err != nil {
			return err
		}
		following, done := context.WithTimeout(ctx, 20*time.Second)
		err := s.Following(following)
		done()
		switch {
		case err == nil:
			fleet.Report("the restore is accepted and followed")
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("a restore was accepted and is not followed: %w", err)
		}
	}
}

// watched waits until every replica follows the configuration again: it reports what it knows then.
func (s *SetBacks) watched(ctx context.Context) error {
	all := fmt.Sprintf("\ntollgate_config_watchers %d\n", s.Watchers)
	for {
		metrics, err := s.config.Metrics(ctx)
		if err == nil && strings.Contains(metrics, all) {
			return nil
		}
		if !pause.For(ctx, 100*time.Millisecond) {
			return fmt.Errorf("wait for services to follow the configuration: %w", errors.Join(ctx.Err(), err))
		}
	}
}

// accept accepts the restore. Its revision is above every revision that was given before.
func (s *SetBacks) accept(ctx context.Context) error {
	var out bytes.Buffer
	args := []string{
		"config", "accept-restore", "--config", s.config.Address("grpc"), "--api-key", s.fleet.Key, "--yes",
		"--why", "the database was set back to an older copy",
	}
	if code := cli.Run(ctx, args, command.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, time.Now()); code != 0 {
		return fmt.Errorf("accept a restore: it ended with %d: %s", code, out.String())
	}
	if !strings.Contains(out.String(), "accepted: ") {
		return nil
	}
	s.Restores++
	return s.Accepted(ctx)
}
