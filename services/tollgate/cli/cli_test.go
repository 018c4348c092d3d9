package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	"github.com/tollgate/tollgate/services/tollgate/allinone"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

const testKey = "a-key-of-the-tests"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"tollgate": func() {
			os.Exit(Run(context.Background(), os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, time.Now()))
		},
		"readlog":      readLog,
		"awaitprofile": awaitProfile,
		"awaithook":    awaitHook,
	})
}

// readLog prints the events of a partition, for scripts: readlog PREFIX TOPIC PARTITION.
func readLog() {
	err := func() error {
		client, err := stream.Open(stream.Config{Brokers: []string{os.Getenv("TOLLGATE_KAFKA_BROKERS")}, Prefix: os.Args[1]}, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			return err
		}
		partition, err := strconv.ParseInt(os.Args[3], 10, 32)
		if err != nil {
			return err
		}
		batch, err := client.FetchFrom(context.Background(), client.Topic(os.Args[2]), int32(partition), 0, 1<<20)
		for _, r := range batch.Records {
			e, err := event.Decode(r.Value)
			if err != nil {
				return err
			}
			data := e.Data.(*controlv1.Gap)
			fmt.Printf("%d %s %s %d %d by %t: %s\n", r.Offset, e.Type, data.GetDomain(), data.GetFromOffset(), data.GetToOffset(), data.GetWho() != "", data.GetWhy())
		}
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestScripts runs testdata/*.txtar, each with the whole command line against config, ingest, Kafka and Redis.
func TestScripts(t *testing.T) {
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "api-key")
	if err := os.WriteFile(keyFile, []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	installation, err := allinone.Open(context.Background(), allinone.Config{
		Dir: dir, KeyFile: keyFile, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	address := func(service string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		a, err := installation.Service(service).Address(ctx, "grpc")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	config, ingest := address("config"), address("ingest")
	ready, err := filepath.Abs("../../../deploy/notifications")
	if err != nil {
		t.Fatal(err)
	}
	mail := newMailbox(t)
	sender, stop := runEmail(t, installation, config, filepath.Join(dir, "service-key"))
	hookPort, stopHooks := runProvision(t, installation, config, filepath.Join(dir, "service-key"))
	t.Run("all", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata", RequireExplicitExec: true,
			Setup: func(e *testscript.Env) error {
				e.Setenv("TOLLGATE_API_KEY", testKey)
				e.Setenv("TOLLGATE_CONFIG_ADDR", config)
				e.Setenv("TOLLGATE_INGEST_ADDR", ingest)
				e.Setenv("TOLLGATE_EMAIL_ADDR", sender)
				e.Setenv("MAIL_PORT", mail.port)
				e.Setenv("HOOK_PORT", hookPort)
				e.Setenv("READY", ready)
				e.Setenv("TOLLGATE_KAFKA_BROKERS", installation.Kafka)
				e.Setenv("TOLLGATE_REDIS_ADDRESS", installation.Redis)
				return nil
			},
		})
	})
	stop()
	stopHooks()
	if err := installation.Close(); err != nil {
		t.Error(err)
	}
}

func TestRun_ExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for _, tt := range []struct {
		name   string
		args   string
		code   int
		stderr string
	}{
		{"no command shows the help", "", exitOK, ""},
		{"help is no error", "apply --help", exitOK, ""},
		{"an unknown command is a usage error", "aply", exitUsage, "unexpected argument aply"},
		{"an unknown flag is a usage error", "try --bogus", exitUsage, "unknown flag --bogus"},
		{"a missing flag is a usage error", "apply", exitUsage, "missing flags: --file"},
		{"a file and a profile at once are a usage error", "apply -f x --profile eu-roaming --tenant a --class b", exitUsage, "can't be used together"},
		{"a profile without a class is a usage error", "apply --profile eu-roaming --tenant a", exitUsage, "go together"},
		{"a class without a profile is a usage error", "apply -f x --class b", exitUsage, "go together"},
		{"a profile that there is not is a usage error", "profiles show us-roaming", exitUsage, `no profile "us-roaming", only eu-roaming`},
		{"a value out of range is a usage error", "topics create --partitions 0", exitUsage, "--partitions must be from 1 to 10000"},
		{"a broker that is no address is a usage error", "topics create --brokers nowhere", exitUsage, "is not host:port"},
		{"an unknown form of output is a usage error", "topics verify -o xml", exitUsage, `must be one of "table","json","yaml"`},
		{"an unknown domain is a usage error", "state accept-gap --domain x --partition 0 --from 0 --to 1 --why y", exitUsage, "--domain must be one of"},
		{"an empty range is a usage error", "state accept-gap --domain safeguard --partition 0 --from 5 --to 5 --why y", exitUsage, "not 5 to 5"},
		{"a gap is not accepted without being asked", "state accept-gap --domain safeguard --partition 0 --from 0 --to 5 --why y", exitUsage, "--yes is required"},
		{"a file that is not there fails", "apply -f " + missing, exitFailed, "no such file"},
		{"a service that is not there fails", "send -f - --ingest 127.0.0.1:1", exitFailed, "ingest service at 127.0.0.1:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code := Run(t.Context(), strings.Fields(tt.args), command.Streams{
				In:  strings.NewReader(`{"specversion":"1.0","id":"1","source":"crm","type":"client.created","tenant":"acme","subject":"client/42","time":"2026-11-23T10:00:00Z","data":{}}`),
				Out: &out, Err: &errs,
			}, time.Now())
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(errs.String(), tt.stderr) {
				t.Errorf("standard error:\n%s\nmust contain %q", errs.String(), tt.stderr)
			}
		})
	}
}

func TestHelp_EveryCommandHasAnExample(t *testing.T) {
	parser, err := newParser(command.Streams{Out: io.Discard, Err: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	leaves := parser.Model.Leaves(true)
	if len(leaves) < 15 {
		t.Fatalf("%d commands", len(leaves))
	}
	for _, leaf := range leaves {
		path := strings.TrimPrefix(leaf.FullPath(), "tollgate ")
		var out bytes.Buffer
		if code := Run(t.Context(), append(strings.Fields(path), "--help"), command.Streams{Out: &out, Err: io.Discard}, time.Now()); code != exitOK {
			t.Errorf("%s --help: exit code %d", path, code)
		}
		if !strings.Contains(out.String(), "Example:") || !strings.Contains(out.String(), "    tollgate "+path) {
			t.Errorf("%s --help shows no example:\n%s", path, out.String())
		}
	}
}
