// Package backup writes the configuration into a file and reads it back, beside its service.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/config/encrypt"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Database is where the tables of the configuration are, as its service finds them.
type Database struct {
	Settings string `help:"Configuration file of the config service, as it is given to -config; without it its defaults and the variables of the environment." placeholder:"FILE"`
}

func (d Database) config() (store.Config, encrypt.Rows, error) {
	cfg := config.DefaultConfig()
	if err := daemon.Load(d.Settings, os.Environ(), &cfg); err != nil {
		return store.Config{}, encrypt.Rows{}, err
	}
	keyset, err := secret.Open(cfg.Secrets.KeysetFile)
	return cfg.Database, encrypt.Rows{Keyset: keyset}, err
}

// Tables is where the tables are.
func (d Database) Tables() (store.Config, error) {
	cfg := config.DefaultConfig()
	err := daemon.Load(d.Settings, os.Environ(), &cfg)
	return cfg.Database, err
}

// Backup writes a backup.
type Backup struct {
	Database
	File string `arg:"" help:"File to write; there must be none of that name."`
}

// Help is shown below the flags.
func (Backup) Help() string {
	return `The file holds every resource, every old version that was not pruned, and who made which revision, as of one moment. It is the same for
SQLite and PostgreSQL. The service may run meanwhile. Secrets are in it encrypted: without the keyset
(secrets.keyset_file) that the service has now it can't be restored, so keep both, and apart from each other.

The command opens the database itself, with the service's own configuration, so it works while no service runs.

Example:

    tollgate config backup --settings /etc/tollgate/config.yaml config-backup.gz`
}

// Run writes the file beside its name first, so that one of that name is always whole.
func (c Backup) Run(ctx context.Context, streams command.Streams) (err error) {
	cfg, secrets, err := c.config()
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, cfg, nothing{}, secrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := os.Lstat(c.File); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already: name another file", c.File)
	}
	var h store.Header
	if err := whole(c.File, func(to io.Writer) (err error) {
		h, err = db.Backup(ctx, to, time.Now())
		return err
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "backed up: %d resources, revision %d of history %s, in %s\n", h.Resources, h.Revision, h.History, c.File)
	return err
}

// nothing is an index of nothing.
type nothing struct{}

func (nothing) Reset()                     {}
func (nothing) Change(_, _ *store.Version) {}

// whole makes a file that is there with all its content, or not at all. Nobody else can read it.
func whole(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Restore fills an empty database.
type Restore struct {
	Database
	File string `arg:"" help:"File that config backup wrote; - for standard input."`
}

// Help is shown below the flags.
func (Restore) Help() string {
	return `The database must be empty: it may be new, and of the other kind than the one that was backed up. This is the move from SQLite to
PostgreSQL: stop the service, back up, set database.url_file in its file, restore, start it. Nothing is restored where the file is damaged,
or where the keyset (secrets.keyset_file) lacks a key that its secrets are encrypted with.

What was changed after the backup is lost. Services that know of it do not follow: they go on by what they have and are not ready, until
tollgate config accept-restore.

Example:

    tollgate config restore --settings /etc/tollgate/config.yaml config-backup.gz`
}

// Run restores.
func (c Restore) Run(ctx context.Context, streams command.Streams) (err error) {
	cfg, secrets, err := c.config()
	if err != nil {
		return err
	}
	from := streams.In
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
		defer f.Close() //nolint:errcheck // it was read
		from = f
	}
	h, err := store.Restore(ctx, cfg, from, command.Operator(), time.Now(), secrets)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "restored: %d resources, revision %d of history %s, as of %s; start the service\n",
		h.Resources, h.Revision, h.History, h.Taken.Format(time.RFC3339))
	return err
}
