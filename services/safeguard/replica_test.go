package safeguard

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
)

// replica is one process of the service.
type replica struct {
	clients
	f     *fixture
	cmd   *exec.Cmd
	admin string
	ended chan error
	lines func() []string
}

// start runs the service as it is deployed, in a process of its own.
func (f *fixture) start() *replica {
	f.Helper()
	cfg, err := yaml.Dump(map[string]any{
		"admin": map[string]any{"listen": "127.0.0.1:0"},
		"kafka": map[string]any{"brokers": f.cfg.Kafka.Brokers, "prefix": f.cfg.Kafka.Prefix},
		"redis": map[string]any{"address": f.cfg.Redis.Address, "prefix": f.cfg.Redis.Prefix, "skip_durability_check": f.cfg.Redis.SkipDurabilityCheck},
		"state": f.cfg.State,
		"grpc":  map[string]any{"listen": "127.0.0.1:0", "api_key_hashes": f.cfg.GRPC.KeyHashes},
		"config": map[string]any{
			"address": f.cfg.Configuration.Address, "api_key_file": f.cfg.Configuration.APIKeyFile,
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "safeguard.yaml")
	if err := os.WriteFile(path, cfg, 0o600); err != nil {
		f.Fatal(err)
	}
	r := &replica{f: f, cmd: exec.Command(os.Args[0], "-config", path), ended: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), asReplica+"=1")
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		f.Fatal(err)
	}
	listening := make(chan [2]string, 8)
	var mu sync.Mutex
	var lines []string
	r.lines = func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(lines) }
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			mu.Lock()
			lines = append(lines, s.Text())
			mu.Unlock()
			var l struct{ Message, Listener, Address string }
			if json.Unmarshal(s.Bytes(), &l) == nil && l.Message == "listening" {
				listening <- [2]string{l.Listener, l.Address}
			}
		}
		r.ended <- r.cmd.Wait()
	}()
	f.Cleanup(func() {
		r.kill()
		if f.Failed() {
			f.Logf("replica %d:\n%s", r.cmd.Process.Pid, strings.Join(r.lines(), "\n"))
		}
	})
	for r.clients.inventory == nil {
		select {
		case l := <-listening:
			if l[0] == "admin" {
				r.admin = l[1]
				continue
			}
			conn, err := rpc.Dial(l[1], testKey)
			if err != nil {
				f.Fatal(err)
			}
			f.Cleanup(func() { _ = conn.Close() })
			r.clients = newClients(conn)
		case err := <-r.ended:
			r.ended <- err
			f.Fatalf("the replica ended: %v\n%s", err, strings.Join(r.lines(), "\n"))
		case <-f.ctx.Done():
			f.Fatal("the replica does not listen")
		}
	}
	return r
}

// kill ends the process as kill -9 does.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill() // it may have ended
	r.ended <- <-r.ended
}

// stop ends it as an operator does.
func (r *replica) stop() {
	r.f.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.f.Fatal(err)
	}
	err := <-r.ended
	r.ended <- err
	if err != nil {
		r.f.Errorf("after SIGTERM: %v", err)
	}
}

// shows waits for an answer that is one (REBUILDING means to ask again) and compares everything published of the subscriber:
// outcomes are published before the commit that an answer is read from.
func (r *replica) shows(subject string) *optionsv1.DataSafeguard {
	r.f.Helper()
	for {
		m, err := r.inventory.GetDataSafeguard(r.f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(subject)})
		if err == nil && m.GetSequence() >= r.f.last[subject] {
			return m
		}
		// Answers are a batch behind outcomes.
		if err != nil && fault.KindOf(err) != fault.Unavailable && fault.KindOf(err) != fault.NotFound || r.f.ctx.Err() != nil {
			r.f.Fatalf("%s: %v, %v", subject, m, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.f.ctx.Done():
		}
	}
}

func nameOf(subject string) string {
	return "tenants/acme/subscribers/" + subject + "/options/dataSafeguard"
}
