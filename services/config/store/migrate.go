package store

import (
	"context"
	"embed"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// A version of the tables has the same number in both databases. PostgreSQL begins where SQLite came to be the same.
//
//go:embed migrations
var migrations embed.FS

// migrate brings the tables up to a version, 0 for the newest. They never go back.
func (s *Store) migrate(ctx context.Context, version int64) error {
	p, err := s.migrations(ctx)
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if err := s.checkVersion(ctx, p); err != nil {
		return err
	}
	if version == 0 {
		_, err = p.Up(ctx)
	} else {
		_, err = p.UpTo(ctx, version)
	}
	if err != nil {
		return s.dialect.failed(err, "migrate database %s", s.where)
	}
	return nil
}

func (s *Store) migrations(ctx context.Context) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+s.dialect.name)
	if err != nil {
		return nil, err
	}
	encrypting := goose.WithGoMigrations(goose.NewGoMigration(8, &goose.GoFunc{RunTx: s.encryptTables}, nil))
	if s.dialect == sqliteDialect {
		return goose.NewProvider(goose.DialectSQLite3, s.writer, files, encrypting)
	}
	// One replica migrates at a time; those of another schema do not wait for it.
	var schema string
	if _, err := s.row(ctx, "schema", `SELECT current_database() || '.' || COALESCE(current_schema(), '')`, nil, &schema); err != nil {
		return nil, err
	}
	h := fnv.New32()
	h.Write([]byte("tollgate config " + schema))
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(int64(h.Sum32())), lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectPostgres, s.writer, files, encrypting, goose.WithSessionLocker(locker))
}

// newestVersion is of the tables that this binary knows.
func newestVersion(p *goose.Provider) int64 {
	all := p.ListSources()
	return all[len(all)-1].Version
}

// checkVersion refuses tables of a newer binary: this one would write what that one does not expect.
func (s *Store) checkVersion(ctx context.Context, p *goose.Provider) error {
	there, err := p.GetDBVersion(ctx)
	if err != nil {
		return s.dialect.failed(err, "read the version of database %s", s.where)
	}
	if known := newestVersion(p); there > known {
		return fmt.Errorf("database %s has tables of version %d, and this binary knows %d: use a binary at least as new as the one that wrote it", s.where, there, known)
	}
	return nil
}
