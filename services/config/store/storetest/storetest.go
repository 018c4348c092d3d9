// Package storetest has the databases that tests of the configuration run on: SQLite always, and PostgreSQL where one
// answers.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"

	"github.com/tollgate/tollgate/services/config/store"
)

// onPostgres is set where a suite is run a second time, on PostgreSQL.
const onPostgres = "TOLLGATE_TEST_DATABASE"

// Main runs the tests of a package on SQLite, and in a second process on PostgreSQL, where that answers at
// TOLLGATE_TEST_POSTGRES; with TOLLGATE_REAL=1 it must. Short tests are on SQLite alone.
func Main(m *testing.M) int {
	flag.Parse()
	if code := m.Run(); code != 0 || os.Getenv(onPostgres) != "" || measuring() {
		return code
	}
	err := answers()
	must := os.Getenv("TOLLGATE_REAL") == "1"
	switch {
	case must && err != nil:
		fmt.Fprintf(os.Stderr, "TOLLGATE_REAL=1, and no PostgreSQL answers: %v\n", err)
		return 1
	case err != nil || testing.Short() && !must:
		return 0
	}
	var args []string
	for _, a := range os.Args[1:] {
		if !strings.HasPrefix(a, "-test.testlogfile") && !strings.HasPrefix(a, "-test.coverprofile") {
			args = append(args, a)
		}
	}
	again := exec.Command(os.Args[0], args...)
	again.Env = append(os.Environ(), onPostgres+"=postgres")
	again.Stdout, again.Stderr = os.Stdout, os.Stderr
	fmt.Println("the same on PostgreSQL")
	if err := again.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "on PostgreSQL:", err)
		return 1
	}
	return 0
}

// measuring reports whether benchmarks or lists are asked for, which one database is enough for.
func measuring() bool {
	for _, name := range []string{"test.bench", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return true
		}
	}
	return false
}

// URL is that of the server for tests.
func URL() string {
	if u := os.Getenv("TOLLGATE_TEST_POSTGRES"); u != "" {
		return u
	}
	return "postgres://tollgate:tollgate@127.0.0.1:15432/tollgate?sslmode=disable"
}

func answers() error {
	db, err := sql.Open("pgx", URL())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) //nolint:forbidigo // before any test has begun
	defer cancel()
	return errors.Join(db.PingContext(ctx), db.Close())
}

// Database is one of a test's own, and ends with it.
type Database struct {
	// Config opens it.
	Config store.Config

	t      testing.TB
	schema string // of PostgreSQL
	admin  *sql.DB
}

// New makes one of the kind that the suite runs on now.
func New(t testing.TB) *Database {
	t.Helper()
	if os.Getenv(onPostgres) == "" {
		return NewSQLite(t)
	}
	return NewPostgres(t, URL())
}

// NewSQLite makes a file, whose name has to be escaped.
func NewSQLite(t testing.TB) *Database {
	return &Database{t: t, Config: store.Config{Path: filepath.Join(t.TempDir(), "a dir?", "config.db")}}
}

// NewPostgres makes a schema of its own on a server.
func NewPostgres(t testing.TB, server string) *Database {
	t.Helper()
	d := &Database{t: t, schema: "test_" + strings.ToLower(rand.Text()[:12])}
	var err error
	if d.admin, err = sql.Open("pgx", server); err != nil {
		t.Fatalf("open PostgreSQL: %v", err)
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("the URL of PostgreSQL: %v", err)
	}
	q := u.Query()
	q.Set("search_path", d.schema)
	u.RawQuery = q.Encode()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(u.String()+"\n"), 0o600); err != nil {
		t.Fatalf("write the URL of PostgreSQL: %v", err)
	}
	d.Config = store.Config{URLFile: file}
	d.exec("CREATE SCHEMA " + d.schema)
	t.Cleanup(func() {
		d.drop(d.schema)
		d.admin.Close() //nolint:errcheck // nothing is left to write
	})
	return d
}

// Postgres reports whether it is one of PostgreSQL.
func (d *Database) Postgres() bool { return d.admin != nil }

func (d *Database) exec(query string) {
	d.t.Helper()
	if _, err := d.admin.Exec(query); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
}

// Exec runs statements on the tables, as somebody beside the service would.
func (d *Database) Exec(queries ...string) {
	d.t.Helper()
	d.beside(func(db *sql.DB) error {
		for _, q := range queries {
			if _, err := db.Exec(q); err != nil {
				return fmt.Errorf("%.200s: %w", q, err)
			}
		}
		return nil
	})
}

// Rows are the rows of a query as texts.
func (d *Database) Rows(query string) (all [][]string) {
	d.t.Helper()
	d.beside(func(db *sql.DB) error {
		rows, err := db.Query(query)
		if err != nil {
			return err
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			return err
		}
		for rows.Next() {
			row, into := make([]string, len(columns)), make([]any, len(columns))
			for i := range row {
				into[i] = &row[i]
			}
			if err := rows.Scan(into...); err != nil {
				return err
			}
			all = append(all, row)
		}
		return rows.Err()
	})
	return all
}

// Literal is bytes in a statement.
func (d *Database) Literal(b []byte) string {
	if d.Postgres() {
		return fmt.Sprintf("'\\x%x'", b)
	}
	return fmt.Sprintf("X'%x'", b)
}

// beside does something with a connection of its own.
func (d *Database) beside(do func(*sql.DB) error) {
	d.t.Helper()
	driver, address := "sqlite", d.Config.Path
	if d.Postgres() {
		content, err := os.ReadFile(d.Config.URLFile)
		if err != nil {
			d.t.Fatalf("read the URL of PostgreSQL: %v", err)
		}
		driver, address = "pgx", strings.TrimSpace(string(content))
	} else {
		address = (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: address}).EscapedPath()}).String()
	}
	db, err := sql.Open(driver, address)
	if err == nil {
		err = errors.Join(do(db), db.Close())
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Files is every byte that the database's files hold of its tables, also of rows that were replaced. On PostgreSQL it asks the
// server for them.
func (d *Database) Files() map[string][]byte {
	d.t.Helper()
	all := map[string][]byte{}
	if !d.Postgres() {
		for _, end := range []string{"", "-wal", "-shm"} {
			content, err := os.ReadFile(d.Config.Path + end)
			if err != nil && end == "" {
				d.t.Fatalf("read the database: %v", err)
			}
			all["config.db"+end] = content
		}
		return all
	}
	d.exec("CHECKPOINT")
	rows, err := d.admin.Query(`WITH mine AS (SELECT c.oid, c.relname, c.reltoastrelid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)
		SELECT relname, pg_read_binary_file(pg_relation_filepath(oid)) FROM mine WHERE pg_relation_filepath(oid) IS NOT NULL
		UNION ALL SELECT relname || '-toast', pg_read_binary_file(pg_relation_filepath(reltoastrelid::regclass)) FROM mine WHERE reltoastrelid <> 0`, d.schema)
	if err != nil {
		d.t.Fatalf("read the files of PostgreSQL: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var content []byte
		if err := rows.Scan(&name, &content); err != nil {
			d.t.Fatalf("read the files of PostgreSQL: %v", err)
		}
		all[name] = content
	}
	if err := rows.Err(); err != nil {
		d.t.Fatalf("read the files of PostgreSQL: %v", err)
	}
	return all
}

func (d *Database) drop(schema string) {
	if _, err := d.admin.Exec("DROP SCHEMA IF EXISTS " + schema + " CASCADE"); err != nil {
		d.t.Errorf("drop schema: %v", err)
	}
}

// Content is all that a database holds, in the form that it is stored in.
func (d *Database) Content() (all []byte) {
	d.t.Helper()
	if !d.Postgres() {
		for _, end := range []string{"", "-wal"} {
			content, err := os.ReadFile(d.Config.Path + end)
			if err != nil && end == "" {
				d.t.Fatalf("read the database: %v", err)
			}
			all = append(all, content...)
		}
		return all
	}
	for _, table := range []string{"resources", "versions", "target_health"} {
		var content []byte
		query := fmt.Sprintf("SELECT COALESCE(string_agg(body, ''), '') FROM %s.%s", d.schema, table) //nolint:gosec // names of our own
		if err := d.admin.QueryRow(query).Scan(&content); err != nil {
			d.t.Fatalf("read the database: %v", err)
		}
		all = append(all, content...)
	}
	return all
}

// Copy takes a copy of a database that is not open, and returns what sets it back to that.
func (d *Database) Copy() (restore func()) {
	d.t.Helper()
	if d.Postgres() {
		return d.copySchema()
	}
	files := map[string][]byte{}
	for _, end := range []string{"", "-wal", "-shm"} {
		if body, err := os.ReadFile(d.Config.Path + end); err == nil {
			files[end] = body
		}
	}
	return func() {
		d.t.Helper()
		d.Clear()
		for end, body := range files {
			if err := os.WriteFile(d.Config.Path+end, body, 0o600); err != nil {
				d.t.Fatalf("set back: %v", err)
			}
		}
	}
}

// Clear removes everything from a database that is not open.
func (d *Database) Clear() {
	d.t.Helper()
	if d.Postgres() {
		d.drop(d.schema)
		d.exec("CREATE SCHEMA " + d.schema)
		return
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		os.Remove(d.Config.Path + end) //nolint:errcheck // it may not be there
	}
}

func (d *Database) tables() (all []string) {
	d.t.Helper()
	rows, err := d.admin.Query("SELECT table_name FROM information_schema.tables WHERE table_schema = $1", d.schema)
	if err != nil {
		d.t.Fatalf("list tables: %v", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			d.t.Fatalf("list tables: %v", err)
		}
		all = append(all, name)
	}
	if err := rows.Err(); err != nil {
		d.t.Fatalf("list tables: %v", err)
	}
	return all
}

func (d *Database) copySchema() func() {
	d.t.Helper()
	kept := "copy_" + strings.ToLower(rand.Text()[:12])
	d.exec("CREATE SCHEMA " + kept)
	d.t.Cleanup(func() { d.drop(kept) })
	tables := d.tables()
	for _, table := range tables {
		d.exec(fmt.Sprintf("CREATE TABLE %s.%s AS TABLE %s.%s", kept, table, d.schema, table))
	}
	return func() {
		d.t.Helper()
		for _, table := range tables {
			d.exec(fmt.Sprintf("TRUNCATE %s.%s", d.schema, table))
			d.exec(fmt.Sprintf("INSERT INTO %s.%s SELECT * FROM %s.%s", d.schema, table, kept, table))
		}
	}
}
