package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tollgate/tollgate/services/systemtest/figure"
)

// Kinds of servers.
const (
	Kafka = "kafka"
	Redis = "redis"
	// Postgres is a PostgreSQL with one database for all.
	Postgres = "postgres"
)

// Server is a Kafka, a Redis or a PostgreSQL of one's own, with its data in a folder.
type Server struct {
	kind, dir, address string
}

// StartServer starts a server on a free port and returns once it answers.
func StartServer(ctx context.Context, kind, dir string) (*Server, error) {
	s := &Server{kind: kind, dir: dir}
	address, err := servers(ctx, kind, "--port", "0", "--dir", dir)
	s.address = address
	return s, err
}

// Address is host:port.
func (s *Server) Address() string { return s.address }

// PostgresURL is how the PostgreSQL at an address is used.
func PostgresURL(address string) string {
	return "postgres://tollgate:tollgate@" + address + "/tollgate?sslmode=disable"
}

func (s *Server) pid() (int, error) {
	content, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", s.kind, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", s.kind, err)
	}
	return pid, nil
}

// Processor is how much processor time the server has taken.
func (s *Server) Processor() (time.Duration, error) {
	pid, err := s.pid()
	if err != nil {
		return 0, err
	}
	return Processor(pid)
}

// Kill ends the server at once, as a crash would.
func (s *Server) Kill() error {
	pid, err := s.pid()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", s.kind, err)
	}
	return nil
}

// Restart brings a killed server back at its address, with what it had acknowledged, and returns once it answers.
func (s *Server) Restart(ctx context.Context) error {
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		return fmt.Errorf("restart %s: %w", s.kind, err)
	}
	_, err = servers(ctx, s.kind, "--port", port, "--dir", s.dir)
	return err
}

// Stop ends the server.
func (s *Server) Stop(ctx context.Context) error {
	_, err := servers(ctx, "stop", "--dir", s.dir)
	return err
}

// On describes a Kafka and a Redis as they describe themselves, and the machine.
func On(ctx context.Context, kafka, server *Server) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: server.address})
	defer client.Close() //nolint:errcheck // nothing was written through it
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask Redis what it is: %w", err)
	}
	fsync, err := client.ConfigGet(ctx, "appendfsync").Result()
	if err != nil {
		return "", fmt.Errorf("ask Redis what it is: %w", err)
	}
	_, version, _ := strings.Cut(info, "redis_version:")
	version, _, _ = strings.Cut(version, "\r")
	return figure.On(fmt.Sprintf("redis %s appendfsync %s", version, fsync["appendfsync"]), kafka.dir)
}

// servers calls the script that starts servers and returns what it prints.
func servers(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(root(), "deploy", "servers", "servers"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("servers %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// root is the repository's: where this file was compiled.
func root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..")
}
