package backup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/secret/secrettest"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// settings is the file of a config service whose database is in a folder.
func settings(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf("database: {path: %s}\nsecrets: {keyset_file: %s}\n", filepath.Join(dir, "config.db"), secrettest.File(t))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(dir, "config.db")}, nothing{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func write(t *testing.T, s *store.Store) {
	t.Helper()
	tx, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	n := tx.Last().Revision + 1
	err = tx.Write(t.Context(), store.Entry{Revisions: store.Revisions{Revision: n, Apply: n}, At: time.Now()}, store.Version{Kind: "tenant", Name: "tenants/acme", Revision: n, Body: []byte("x")})
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackup_IsReadBackByRestore(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	service := open(t, from) // it runs meanwhile
	write(t, service)
	var out bytes.Buffer
	streams := command.Streams{In: strings.NewReader(""), Out: &out, Err: &out}
	file := filepath.Join(from, "backup.gz")
	backup := Backup{Database: Database{Settings: settings(t, from)}, File: file}
	if err := backup.Run(t.Context(), streams); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	if err := backup.Run(t.Context(), streams); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("again: %v", err)
	}
	restore := Restore{Database: Database{Settings: settings(t, to)}, File: file}
	if err := restore.Run(t.Context(), streams); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.Contains(text, "backed up: 1 resources, revision 1") || !strings.Contains(text, "restored: 1 resources, revision 1") {
		t.Errorf("it prints %q", text)
	}
	if v, ok, err := open(t, to).Newest(context.WithoutCancel(t.Context()), "tenant", "tenants/acme"); err != nil || !ok || string(v.Body) != "x" {
		t.Errorf("restored is %v, %t, %v", v, ok, err)
	}
	if err := restore.Run(t.Context(), streams); err == nil || !strings.Contains(err.Error(), "holds a configuration") {
		t.Errorf("again: %v", err)
	}
}

func TestSettings_WithFaultsAreListed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(name, []byte("database: {url: \"postgres://u:secret@h/d\", url_file: x}\ngrpc: {listen: nonsense}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Backup{Database: Database{Settings: name}, File: "x"}.Run(t.Context(), command.Streams{})
	if err == nil || !strings.Contains(err.Error(), "database.url_file") || !strings.Contains(err.Error(), "grpc.listen") || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}
