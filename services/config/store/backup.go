package store

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// A backup is a gzip file of JSON lines, the same for both databases: a header, the rows of each table as lists, and an
// end that counts them. Secrets are in it as they are stored: encrypted.

const (
	backupFormat  = "tollgate-config"
	backupVersion = 1
)

// Header begins a backup.
type Header struct {
	Format string `json:"format"`
	// Version is that of the lines; Tables is that of the tables.
	Version int       `json:"version"`
	Tables  int64     `json:"tables"`
	Taken   time.Time `json:"taken"`
	// Revision is the newest in it, and History the one that it is of.
	Revision int64  `json:"revision"`
	History  string `json:"history"`
	// Resources is how many stand in it.
	Resources int64 `json:"resources"`
	// Keys are those that the secrets in it are encrypted with.
	Keys []string `json:"keys,omitempty"`
}

// End ends a backup that is whole.
type end struct {
	Rows int64 `json:"rows"`
}

// What columns hold.
const (
	number = iota
	text
	flag
	bytes
	// prunable are bytes that may be null.
	prunable
)

type column struct {
	name  string
	holds int
}

type table struct {
	name    string
	columns []column
}

// tables are those of a backup, in the form of a version of the tables. A later version adds its own list here; 6 differs from
// 5 in an index alone.
var tables = map[int64][]table{
	5: tablesOf(), 6: tablesOf(), 7: append(tablesOf(), auditPosition), 8: append(tablesOf(column{"secrets_key", number}), auditPosition),
}

// oldestTables is the lowest version in tables.
const oldestTables = 5

// tablesOf are the tables of version 5, those with bodies with more columns.
func tablesOf(more ...column) []table {
	return []table{
		{"revisions", []column{
			{"revision", number}, {"apply_revision", number}, {"changed_at", number}, {"caller", text}, {"action", text}, {"kind", text}, {"name", text}, {"history", number},
		}},
		{"resources", append([]column{{"kind", text}, {"name", text}, {"revision", number}, {"deleted", flag}, {"body", bytes}}, more...)},
		{"versions", append([]column{{"kind", text}, {"name", text}, {"revision", number}, {"until", number}, {"deleted", flag}, {"body", prunable}}, more...)},
		{"histories", []column{{"history", number}, {"last", number}}},
		{"lost_revisions", []column{{"history", number}, {"revision", number}, {"stands_in", number}, {"accepted_by", text}, {"why", text}}},
		{"target_health", []column{{"kind", text}, {"name", text}, {"body", bytes}}},
	}
}

// auditPosition is without who holds it: what was published after the backup is published again, under the same ids.
var auditPosition = table{"audit_position", []column{{"id", number}, {"revision", number}}}

func (t table) names() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// scanned are places for the values of a row.
func (t table) scanned() []any {
	into := make([]any, len(t.columns))
	for i, c := range t.columns {
		switch c.holds {
		case number:
			into[i] = new(int64)
		case text:
			into[i] = new(string)
		case flag:
			into[i] = new(bool)
		default:
			into[i] = new([]byte)
		}
	}
	return into
}

// Backup writes everything that the database has, as of one moment. It may run beside the service.
func (s *Store) Backup(ctx context.Context, to io.Writer, now time.Time) (h Header, err error) {
	p, err := s.migrations(ctx)
	if err != nil {
		return h, fmt.Errorf("back up: %w", err)
	}
	h = Header{Format: backupFormat, Version: backupVersion, Tables: newestVersion(p), Taken: now.UTC().Truncate(time.Second)}
	zip := gzip.NewWriter(to)
	lines := json.NewEncoder(zip)
	err = s.View(ctx, func(r Reader) error {
		at, err := r.head(ctx)
		if err != nil {
			return err
		}
		h.Revision, h.History = at.revision, fmt.Sprintf("%016x", uint64(at.history))
		if _, err := r.row(ctx, "resources", `SELECT COUNT(*) FROM resources WHERE NOT deleted`, nil, &h.Resources); err != nil {
			return err
		}
		keys, err := r.SecretKeys(ctx)
		if err != nil {
			return err
		}
		for id := range keys {
			h.Keys = append(h.Keys, id.String())
		}
		slices.Sort(h.Keys)
		if err := lines.Encode(h); err != nil {
			return fmt.Errorf("write backup: %w", err)
		}
		rows := int64(0)
		for _, t := range tables[h.Tables] {
			n, err := r.dump(ctx, t, lines)
			if err != nil {
				return err
			}
			rows += n
		}
		return lines.Encode(end{Rows: rows})
	})
	if err != nil {
		return h, err
	}
	if err := zip.Close(); err != nil {
		return h, fmt.Errorf("write backup: %w", err)
	}
	return h, nil
}

func (r Reader) dump(ctx context.Context, t table, lines *json.Encoder) (rows int64, err error) {
	into := t.scanned()
	err = r.each(ctx, t.name, fmt.Sprintf(`SELECT %s FROM %s`, t.names(), t.name), nil, func(scan func(...any) error) error {
		if err := scan(into...); err != nil {
			return err
		}
		rows++
		return lines.Encode(append([]any{t.name}, into...))
	})
	return rows, err
}

// restoreBatch is how many rows one statement writes.
const restoreBatch = 200

// maxLine bounds a line: a body of 256 KiB in base64, and room.
const maxLine = 1 << 20

// Restore fills an empty database from a backup, in one transaction, and begins a new history: who restored it stands
// beside its first revision. It refuses a database that holds something.
func Restore(ctx context.Context, c Config, from io.Reader, who string, now time.Time, secrets Secrets) (h Header, err error) {
	zip, err := gzip.NewReader(from)
	if err != nil {
		return h, fmt.Errorf("read backup: this is no backup of a configuration: %w", err)
	}
	lines := bufio.NewScanner(zip)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	if h, err = header(lines); err != nil {
		return h, err
	}
	if err := h.checkKeys(secrets); err != nil {
		return h, err
	}
	s, err := connect(ctx, c)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.secrets = secrets
	// The tables come to be those of the backup first, and then as this binary has them.
	if err := s.migrate(ctx, h.Tables); err != nil {
		return h, err
	}
	if err := s.fill(ctx, h, lines, who, now); err != nil {
		// What a damaged file makes the database refuse is not the database's fault.
		if _, damage := io.Copy(io.Discard, zip); damage != nil { //nolint:gosec // an operator's own file, and nothing of it is kept
			return h, fmt.Errorf("read backup: it is damaged, nothing was restored: %w", damage)
		}
		return h, fmt.Errorf("restore backup: %w", err)
	}
	return h, s.bringUp(ctx)
}

// checkKeys refuses a keyset that can't decrypt the secrets of a backup.
func (h Header) checkKeys(secrets Secrets) error {
	if secrets == nil {
		return nil
	}
	var known, missing []string
	for _, id := range secrets.Keys() {
		known = append(known, id.String())
	}
	for _, id := range h.Keys {
		if !slices.Contains(known, id) {
			missing = append(missing, id)
		}
	}
	return missingKeys("the backup", missing, secrets)
}

func header(lines *bufio.Scanner) (h Header, err error) {
	if !lines.Scan() {
		return h, fmt.Errorf("read backup: it is empty or damaged: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil || h.Format != backupFormat {
		return h, errors.New("read backup: this is no backup of a configuration")
	}
	if h.Version != backupVersion || tables[h.Tables] == nil {
		use := "a binary at least as new as the one that wrote it"
		if h.Version < backupVersion || h.Tables < oldestTables {
			use = "the binary that wrote it, and bring its database up with newer ones"
		}
		return h, fmt.Errorf("read backup: it has format %d with tables of version %d, which this binary does not know: restore it with %s", h.Version, h.Tables, use)
	}
	return h, nil
}

// fill writes all rows, and a revision of its own, in one transaction.
func (s *Store) fill(ctx context.Context, h Header, lines *bufio.Scanner, who string, now time.Time) error {
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if last := tx.Last().Revision; last > 0 {
		return fmt.Errorf("database %s holds a configuration of revision %d: a backup is restored into an empty one", s.where, last)
	}
	if err := tx.fill(ctx, h, lines); err != nil {
		return err
	}
	if err := tx.exec(ctx, step{`UPDATE head SET
		revision = (SELECT COALESCE(MAX(revision), 0) FROM revisions), apply_revision = (SELECT COALESCE(MAX(apply_revision), 0) FROM revisions),
		followed_revision = (SELECT COALESCE(MAX(revision), 0) FROM revisions WHERE kind <> 'suppression')`, nil}, h.Revision); err != nil {
		return err
	}
	if tx.head, err = tx.Reader.head(ctx); err != nil {
		return err
	}
	if tx.head.revision != h.Revision {
		return fmt.Errorf("read backup: it is damaged: it ends with revision %d, and not with %d", tx.head.revision, h.Revision)
	}
	made := tx.Last()
	made.Revision++
	tx.BeginHistory()
	if err := tx.Record(ctx, Entry{Revisions: made, At: now, Caller: "", Action: "restore", Kind: "history", Name: who}); err != nil {
		return err
	}
	return tx.Commit()
}

// fill writes the rows of a backup, and fails where its end is missing.
func (t *Tx) fill(ctx context.Context, h Header, lines *bufio.Scanner) error {
	var all int64
	var b batch
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) > 0 && line[0] == '{' {
			var e end
			if err := json.Unmarshal(line, &e); err != nil || e.Rows != all || lines.Scan() {
				return fmt.Errorf("read backup: it is damaged: it has %d rows, and counts %d", all, e.Rows)
			}
			return t.insert(ctx, &b)
		}
		of, values, err := row(tables[h.Tables], line)
		if err != nil {
			return fmt.Errorf("read backup: row %d: %w", all+1, err)
		}
		if b.rows == restoreBatch || b.rows > 0 && b.table.name != of.name {
			if err := t.insert(ctx, &b); err != nil {
				return err
			}
		}
		b.table, b.rows, b.args = of, b.rows+1, append(b.args, values...)
		all++
	}
	return fmt.Errorf("read backup: it is not whole, nothing was restored: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

// batch is rows of one table that are written by one statement.
type batch struct {
	table table
	rows  int
	args  []any
}

func (t *Tx) insert(ctx context.Context, b *batch) error {
	if b.rows == 0 {
		return nil
	}
	var q strings.Builder
	fmt.Fprintf(&q, "INSERT INTO %s (%s) VALUES ", b.table.name, b.table.names())
	for i := range b.args {
		switch {
		case i > 0 && i%len(b.table.columns) == 0:
			q.WriteString("), (")
		case i > 0:
			q.WriteString(", ")
		default:
			q.WriteString("(")
		}
		fmt.Fprintf(&q, "$%d", i+1)
	}
	q.WriteString(")")
	_, err := t.tx.ExecContext(ctx, q.String(), b.args...)
	if err != nil {
		return t.dialect.failed(err, "write %s", b.table.name)
	}
	*b = batch{args: b.args[:0]}
	return nil
}

// row reads a line: the name of a table, and a value for each of its columns.
func row(all []table, line []byte) (of table, values []any, err error) {
	var parts []json.RawMessage
	var name string
	if err := json.Unmarshal(line, &parts); err != nil || len(parts) == 0 || json.Unmarshal(parts[0], &name) != nil {
		return of, nil, errors.New("it is no list that begins with a table")
	}
	for _, t := range all {
		if t.name == name {
			of = t
		}
	}
	if of.name == "" || len(parts) != len(of.columns)+1 {
		return of, nil, fmt.Errorf("there is no table %q of %d columns", name, len(parts)-1)
	}
	into := of.scanned()
	for i := range into {
		if err := json.Unmarshal(parts[i+1], into[i]); err != nil {
			return of, nil, fmt.Errorf("%s.%s: %w", name, of.columns[i].name, err)
		}
	}
	for i, v := range into {
		values = append(values, value(v, of.columns[i].holds))
	}
	return of, values, nil
}

func value(scanned any, holds int) any {
	switch v := scanned.(type) {
	case *int64:
		return *v
	case *string:
		return *v
	case *bool:
		return *v
	case *[]byte:
		switch {
		case *v != nil:
			return *v
		case holds == bytes:
			return []byte{} // what a driver reads as nothing
		}
	}
	return nil
}
