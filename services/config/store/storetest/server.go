package storetest

import (
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Server is a PostgreSQL of a test's own, with data of its own.
type Server struct {
	t            testing.TB
	dir, address string
}

// StartPostgres starts one that ends with the test. It is skipped where the suite runs on SQLite.
func StartPostgres(t testing.TB) *Server {
	t.Helper()
	if os.Getenv(onPostgres) == "" {
		t.Skip("it is for the run on PostgreSQL")
	}
	s := &Server{t: t, dir: t.TempDir()}
	s.address = s.run("postgres", "--port", "0", "--dir", s.dir)
	t.Cleanup(func() { s.run("stop", "--dir", s.dir) })
	return s
}

// URL is that of its database.
func (s *Server) URL() string {
	return "postgres://tollgate:tollgate@" + s.address + "/tollgate?sslmode=disable"
}

// Kill ends it at once, as a crash would.
func (s *Server) Kill() {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		s.t.Fatalf("kill PostgreSQL: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		s.t.Fatalf("kill PostgreSQL: %v", err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatalf("kill PostgreSQL: %v", err)
	}
}

// Restart brings a killed server back at its address, and returns once it answers.
func (s *Server) Restart() {
	s.t.Helper()
	_, port, _ := strings.Cut(s.address, ":")
	s.run("postgres", "--port", port, "--dir", s.dir)
}

// ReadOnly makes every transaction read-only, or ends that.
func (s *Server) ReadOnly(on bool) {
	s.t.Helper()
	db, err := sql.Open("pgx", s.URL())
	if err == nil {
		_, err = db.Exec("ALTER SYSTEM SET default_transaction_read_only = " + map[bool]string{true: "on", false: "off"}[on])
		_, reload := db.Exec("SELECT pg_reload_conf()")
		err = errors.Join(err, reload, db.Close())
	}
	if err != nil {
		s.t.Fatalf("make PostgreSQL read-only: %v", err)
	}
}

// run calls the servers script, which lies beside the workspace that the test is in, and returns what it prints.
func (s *Server) run(args ...string) string {
	s.t.Helper()
	root, err := os.Getwd()
	if err != nil {
		s.t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			s.t.Fatal("the test does not run in the workspace: no go.work above it")
		}
		root = filepath.Dir(root)
	}
	cmd := exec.Command(filepath.Join(root, "deploy", "servers", "servers"), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("servers %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}
