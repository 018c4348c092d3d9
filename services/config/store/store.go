package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// Store is the tables of one configuration.
type Store struct {
	// Reader reads what is committed.
	Reader

	where string
	// writer has one connection: changes of this process wait for each other here, and for those of others at the row
	// that Begin locks.
	writer, reader *sql.DB
	current        current
	// secrets encrypts; nil where no kind has any.
	secrets Secrets

	mu  sync.Mutex
	run run
}

// dialect is what the databases differ in.
type dialect struct {
	name string
	// lock follows the query that a change begins with.
	lock string
	// follow is how often the head has to be read to see in time what others change.
	follow time.Duration
	// view is the isolation of a transaction that reads one state.
	view sql.IsolationLevel
	// reason classifies an error of the driver.
	reason func(error) string
}

// Open opens the database that the configuration names, and brings its tables up to date: whoever comes first does, and
// others wait for it. Secrets are encrypted from then on, what stood before in clear included; secrets may be nil where no kind
// has any.
func Open(ctx context.Context, c Config, index Index, secrets Secrets) (*Store, error) {
	s, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	s.current.index, s.secrets = index, secrets
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// bringUp has the tables as this binary needs them, no secret in clear in them, and every key at hand.
func (s *Store) bringUp(ctx context.Context) error {
	if err := s.migrate(ctx, 0); err != nil {
		return err
	}
	if err := s.scrub(ctx); err != nil {
		return err
	}
	return s.checkKeys(ctx)
}

func connect(ctx context.Context, c Config) (*Store, error) {
	address, err := c.address()
	switch {
	case err != nil:
		return nil, err
	case address != nil:
		return connectPostgres(ctx, address)
	}
	return connectSQLite(c.Path)
}

func newStore(d *dialect, where string, writer, reader *sql.DB) *Store {
	writer.SetMaxOpenConns(1)
	return &Store{Reader: Reader{queries: reader, dialect: d}, where: where, writer: writer, reader: reader}
}

// Close closes the connections.
func (s *Store) Close() error { return errors.Join(s.reader.Close(), s.writer.Close()) }

// Where names the database, without a password.
func (s *Store) Where() string { return s.where }

// Follow is how often Sync has to be called to see in time what others change.
func (s *Store) Follow() time.Duration { return s.dialect.follow }

// View reads in one state of the database.
func (s *Store) View(ctx context.Context, read func(Reader) error) error {
	tx, err := s.reader.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: s.dialect.view})
	if err != nil {
		return s.dialect.failed(err, "begin to read")
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	return read(Reader{queries: tx, dialect: s.dialect})
}
