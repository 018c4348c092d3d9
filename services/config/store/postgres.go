package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// followEvery is how often a replica reads the head on PostgreSQL: a row by its key.
const followEvery = 100 * time.Millisecond

var postgresDialect = &dialect{name: "postgres", lock: " FOR UPDATE", view: sql.LevelRepeatableRead, follow: followEvery, reason: postgresReason}

const (
	connectTimeout = 5 * time.Second
	// lockTimeout bounds the wait for the changes of others.
	lockTimeout = "10s"
	// idleTimeout ends a change whose process stands still while others wait for it.
	idleTimeout = "30s"
)

func connectPostgres(ctx context.Context, address *url.URL) (*Store, error) {
	writer, err := openPostgres(address, map[string]string{
		// What was answered survives a power cut of the server.
		"synchronous_commit": "on", "lock_timeout": lockTimeout, "idle_in_transaction_session_timeout": idleTimeout,
	})
	if err != nil {
		return nil, err
	}
	reader, err := openPostgres(address, map[string]string{"default_transaction_read_only": "on"})
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(8)
	reader.SetMaxIdleConns(8)
	s := newStore(postgresDialect, address.Redacted(), writer, reader)
	if err := s.checkPostgres(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", s.where, err), s.Close())
	}
	return s, nil
}

func openPostgres(address *url.URL, parameters map[string]string) (*sql.DB, error) {
	c, err := pgx.ParseConfig(address.String())
	if err != nil {
		// The error of the library shows the URL without its password.
		return nil, fmt.Errorf("open database: %w", err)
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tollgate-config"
	}
	for name, value := range parameters {
		c.RuntimeParams[name] = value
	}
	return stdlib.OpenDB(*c), nil
}

// checkPostgres refuses a server that would lose what was answered, or that sorts or stores names otherwise.
func (s *Store) checkPostgres(ctx context.Context) error {
	var version int
	var fsync, encoding string
	row := s.reader.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('server_encoding')`)
	if err := row.Scan(&version, &fsync, &encoding); err != nil {
		return s.dialect.failed(err, "ask the server what it is")
	}
	var wrong []string
	if version < 13_00_00 {
		wrong = append(wrong, fmt.Sprintf("PostgreSQL must be 13 or newer, not %d", version/10_000))
	}
	if fsync != "on" {
		wrong = append(wrong, "fsync must be on: changes that were answered would be lost")
	}
	if encoding != "UTF8" {
		wrong = append(wrong, "the database's encoding must be UTF8, not "+encoding)
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// postgresReason goes by the codes in Appendix A of PostgreSQL's manual.
func postgresReason(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case e.Code == "53100", e.Code == "53200": // disk full, out of memory
			return Full
		case e.Code == "25006": // read-only transaction
			return ReadOnly
		case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57"), strings.HasPrefix(e.Code, "58"),
			e.Code == "25P03", e.Code == "55P03": // idle for too long, lock not taken in time
			return Unavailable
		}
		return ""
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	_, network := errors.AsType[net.Error](err)
	if connecting || network || pgconn.SafeToRetry(err) {
		return Unavailable
	}
	return ""
}
