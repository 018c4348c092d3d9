package store_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/config/store/storetest"
)

// filled has old versions, a deleted resource, suppressions, health and a history that was given up.
func filled(t *testing.T, d *storetest.Database) *replica {
	t.Helper()
	r := open(t, d)
	for i := range 450 {
		r.must("endpoint", fmt.Sprintf("t/e%d", i%300), fmt.Sprint(i))
	}
	r.must("endpoint", "t/e7", "")
	r.must("tenant", "t", "Ünï\"code\\")
	r.must(store.Suppression, "t/s", "x")
	tx, err := r.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if err := tx.Lose(t.Context(), &configv1.Position{History: 1 << 63, Revision: 1000}, 5, "ops", "the disk\nbroke"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Report(t.Context(), "endpoint", "t/e1", []byte{0, 1, 255}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return r
}

var taken = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func backedUp(t *testing.T, r *replica) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := r.Backup(t.Context(), &out, taken); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func restored(t *testing.T, d *storetest.Database, backup []byte) error {
	t.Helper()
	_, err := store.Restore(t.Context(), d.Config, bytes.NewReader(backup), "ops", taken, nil)
	return err
}

// One format for both databases: in the run on PostgreSQL it also goes from and to SQLite.
func TestBackup_IsRestoredWhole(t *testing.T) {
	for name, to := range map[string]func(testing.TB) *storetest.Database{"to the same": storetest.New, "to SQLite": storetest.NewSQLite} {
		t.Run(name, func(t *testing.T) {
			r := filled(t, storetest.New(t))
			before := r.head()
			d := to(t)
			if err := restored(t, d, backedUp(t, r)); err != nil {
				t.Fatal(err)
			}
			again := open(t, d)
			for n := int64(1); n <= before.GetRevision(); n += 13 {
				if got, want := again.shown(0, n), r.shown(0, n); got != want {
					t.Fatalf("revision %d reads %.200q, was %.200q", n, got, want)
				}
			}
			h := again.head()
			if h.GetRevision() != before.GetRevision()+2 || h.GetApplyRevision() != before.GetApplyRevision() || h.GetHistory() == before.GetHistory() {
				t.Errorf("it goes on as %v after %v", h, before)
			}
			if len(h.GetEnds()) != 2 {
				t.Errorf("it continues %v", h.GetEnds())
			}
			if health, err := again.Health(t.Context(), "endpoint", "t/e1", "t/e1"); err != nil || string(health["t/e1"]) != "\x00\x01\xff" {
				t.Errorf("health is %v, %v", health, err)
			}
			if n := again.must("tenant", "t", "next"); n != h.GetRevision()+1 {
				t.Errorf("the next revision is %d", n)
			}
		})
	}
}

// The move from SQLite to PostgreSQL.
func TestBackup_OfSQLiteIsRestoredHere(t *testing.T) {
	r := filled(t, storetest.NewSQLite(t))
	d := storetest.New(t)
	if err := restored(t, d, backedUp(t, r)); err != nil {
		t.Fatal(err)
	}
	if got, want := open(t, d).shown(0, 0), r.shown(0, 0); got != want {
		t.Errorf("it reads %.200q, was %.200q", got, want)
	}
}

func TestRestore_RefusesADatabaseThatHoldsSomething(t *testing.T) {
	r := filled(t, storetest.New(t))
	backup := backedUp(t, r)
	d := storetest.New(t)
	open(t, d).must("tenant", "mine", "x")
	if err := restored(t, d, backup); err == nil || !strings.Contains(err.Error(), "holds a configuration of revision 1") {
		t.Errorf("%v", err)
	}
	if got := open(t, d).shown(0, 0); got != "mine=x" {
		t.Errorf("it reads %q", got)
	}
}

func TestRestore_OfADamagedFileLeavesTheDatabaseEmpty(t *testing.T) {
	backup := backedUp(t, filled(t, storetest.New(t)))
	damaged := bytes.Clone(backup)
	damaged[len(damaged)/2] ^= 0x40
	for name, file := range map[string][]byte{
		"cut":          backup[:len(backup)*2/3],
		"damaged":      damaged,
		"empty":        nil,
		"of something": []byte("PK\x03\x04"),
		"a row twice":  withARowTwice(t, backup),
	} {
		t.Run(name, func(t *testing.T) {
			d := storetest.New(t)
			if err := restored(t, d, file); err == nil || !strings.Contains(err.Error(), "backup") {
				t.Errorf("%v", err)
			}
			if h := open(t, d).head(); h.GetRevision() != 0 {
				t.Errorf("it left %v", h)
			}
			if err := restored(t, d, backup); err != nil {
				t.Errorf("the whole file afterwards: %v", err)
			}
		})
	}
}

func TestPrune_KeepsTheNewestAndWhatLogsMayName(t *testing.T) {
	r := open(t, storetest.New(t))
	at := func(day int) time.Time { return taken.Add(time.Duration(day) * 24 * time.Hour) }
	write := func(name, word string, day int) {
		t.Helper()
		ctx := t.Context()
		tx, err := r.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		n := tx.Last().Revision + 1
		err = tx.Write(ctx, store.Entry{Revisions: store.Revisions{Revision: n, Apply: n}, At: at(day)}, store.Version{Kind: "tenant", Name: name, Revision: n, Body: []byte(word)})
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write("rare", "r1", 0)
	for i := range 10 {
		write("often", fmt.Sprint(i), 1+i)
	}
	write("rare", "r2", 30)
	// Those of day 1 to 3 were replaced before day 5; three are kept, however old.
	n, err := r.Prune(context.Background(), at(5), 3)
	if err != nil || n != 3 {
		t.Fatalf("%d pruned, %v", n, err)
	}
	if n, err := r.Prune(context.Background(), at(100), 3); err != nil || n != 4 {
		t.Fatalf("%d pruned later, %v", n, err)
	}
	r.sync()
	for revision, want := range map[int64]string{
		2: "often= rare=r1 pruned", 4: "often= rare=r1 pruned", 8: "often= rare=r1 pruned", 9: "often=7 rare=r1", 11: "often=9 rare=r1", 12: "often=9 rare=r2",
	} {
		if got := r.shown(0, revision); got != want {
			t.Errorf("revision %d reads %q, want %q", revision, got, want)
		}
	}
	// What is not there any more is not there after a move either.
	d := storetest.New(t)
	if err := restored(t, d, backedUp(t, r)); err != nil {
		t.Fatal(err)
	}
	if got := open(t, d).shown(0, 2); got != "often= rare=r1 pruned" {
		t.Errorf("after a restore revision 2 reads %q", got)
	}
}

// withARowTwice is a backup that the database refuses before the end of the file shows that it is damaged.
func withARowTwice(t *testing.T, backup []byte) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	again := gzip.NewWriter(&out)
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(line, []byte(`["resources"`)) {
			line = append(bytes.Clone(line), line...)
		}
		if _, err := again.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	damaged := out.Bytes()
	damaged[len(damaged)-5] ^= 1 // of the checksum
	return damaged
}

// asOf is a backup as a binary of an older version of the tables has written it.
func asOf(t *testing.T, backup []byte, version int64) []byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(backup))
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	again := gzip.NewWriter(&out)
	lines, rows := json.NewEncoder(again), 0
	for line := range bytes.Lines(content) {
		var head map[string]any
		var row []json.RawMessage
		switch {
		case line[0] == '{':
			if err := json.Unmarshal(line, &head); err != nil {
				t.Fatal(err)
			}
			if _, is := head["tables"]; is {
				head["tables"] = version
			} else {
				head["rows"] = rows
			}
			err = lines.Encode(head)
		default:
			if err := json.Unmarshal(line, &row); err != nil {
				t.Fatal(err)
			}
			table := string(row[0])
			if table == `"audit_position"` && version < 7 {
				continue
			}
			if (table == `"resources"` || table == `"versions"`) && version < 8 {
				row = row[:len(row)-1] // which key its secrets are encrypted with
			}
			rows++
			err = lines.Encode(row)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A backup of an older binary is read as far back as there are backups; every other one is refused with what to do.
func TestRestore_OfAnotherVersionIsReadOrRefused(t *testing.T) {
	r := filled(t, storetest.New(t))
	backup := backedUp(t, r)
	before, want := r.head(), r.shown(0, 0)
	for version, refused := range map[int64]string{
		5: "", 6: "", 7: "", 8: "",
		4: "restore it with the binary that wrote it", 9: "restore it with a binary at least as new as the one that wrote it",
	} {
		t.Run(fmt.Sprint("tables ", version), func(t *testing.T) {
			d := storetest.New(t)
			err := restored(t, d, asOf(t, backup, version))
			if refused != "" {
				if err == nil || !strings.Contains(err.Error(), refused) {
					t.Errorf("%v, want %s", err, refused)
				}
				if h := open(t, d).head(); h.GetRevision() != 0 {
					t.Errorf("it left %v", h)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			again := open(t, d)
			if got := again.shown(0, 0); got != want {
				t.Errorf("it reads %.200q, was %.200q", got, want)
			}
			if n := again.must("tenant", "t", "next"); n <= before.GetRevision() {
				t.Errorf("revision %d is given twice", n)
			}
		})
	}
}
