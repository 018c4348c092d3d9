package compose

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// profiles are all that docker-compose.yml has.
var profiles = []string{"demo", "observability", "postgres"}

func text(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(root + "docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// load reads a file as compose does, with an empty environment but for the variables given.
func load(t *testing.T, content string, with []string, environment map[string]string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir: dir, Environment: environment,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml"), Content: []byte(content)}},
	}, func(o *loader.Options) { o.Profiles = with; o.SetProjectName("tollgate", false) })
}

// broken is what breaks a rule, in the order of rules.
func broken(p *types.Project) faults {
	var f faults
	for _, rule := range rules {
		rule(p, &f)
	}
	return f
}

func TestFile_KeepsEveryRule(t *testing.T) {
	p, err := load(t, text(t), profiles, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range broken(p) {
		t.Error(f)
	}
}

func TestFile_LoadsWithEachProfile(t *testing.T) {
	everywhere := 0
	for _, with := range [][]string{nil, {"demo"}, {"observability"}, {"postgres"}, profiles} {
		p, err := load(t, text(t), with, nil)
		if err != nil {
			t.Errorf("with %v: %v", with, err)
			continue
		}
		if with == nil {
			everywhere = len(p.Services)
		}
		for profile, adds := range map[string][]string{"demo": {"demo"}, "observability": {"prometheus", "grafana"}, "postgres": {"postgres"}} {
			for _, name := range adds {
				if _, there := p.Services[name]; there != slices.Contains(with, profile) {
					t.Errorf("with %v: %s is there: %t", with, name, there)
				}
			}
		}
		if len(with) > 0 && len(p.Services) <= everywhere {
			t.Errorf("with %v: %d services, %d without", with, len(p.Services), everywhere)
		}
	}
}

func TestFile_HasConfigOnPostgresWhereAsked(t *testing.T) {
	for _, on := range []struct {
		environment map[string]string
		want        string
	}{{nil, ""}, {map[string]string{"POSTGRES": "1"}, "/keys/database/url"}} {
		p, err := load(t, text(t), []string{"postgres"}, on.environment)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Services["config"].Environment["TOLLGATE_CONFIG_DATABASE_URL_FILE"]; got == nil || *got != on.want {
			t.Errorf("with %v config reads the URL of its database from %v, not from %q", on.environment, got, on.want)
		}
	}
}

func TestFile_TakesTheVersionOfItsImages(t *testing.T) {
	p, err := load(t, text(t), profiles, map[string]string{"VERSION": "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range p.Services {
		if ours(c) && !strings.HasSuffix(c.Image, ":1.2.3") {
			t.Errorf("%s: image %s is not of the version asked for", name, c.Image)
		}
	}
}

// TestRules_FindWhatBreaksThem: each rule fails on a file that breaks it.
func TestRules_FindWhatBreaksThem(t *testing.T) {
	for _, c := range []struct{ name, old, new, fault string }{
		{"an image without a tag", "redis:7.4-alpine", "redis", "redis: image redis has no tag that stays"},
		{"an image of no version", "redis:7.4-alpine", "redis:latest", "redis: image redis:latest has no tag that stays"},
		{"the image of another service", "SERVICE: trigger", "SERVICE: email", "trigger-1: image tollgate/trigger:dev is built from another service"},
		{"a port for every machine", "127.0.0.1:7010:7010", "7010:7010", "config: port 7010 is not on 127.0.0.1 alone"},
		{"a port taken twice", "127.0.0.1:7030:7030", "127.0.0.1:7010:7030", "port 7010 is that of"},
		{"the network of the machine", "    profiles: [demo]\n", "    profiles: [demo]\n    network_mode: host\n", "demo: has more than a network of its own"},
		{"a start before the job has ended", "keys: {condition: service_completed_successfully}\n  topics", "keys: {condition: service_started}\n  topics", "depends on keys by service_started"},
		{"a start before the server is ready", "redis: {condition: service_healthy}", "redis: {condition: service_started}", "depends on redis by service_started"},
		{"a start without a server", "  redis: {condition: service_healthy}\n", "", "webhook-1: does not wait for redis"},
		{"a server of a profile for all", ", required: false", "", "config: depends on postgres, which only a profile has"},
		{"a server without a check", "    healthcheck:\n      test: [CMD, redis-cli, ping]\n      interval: 2s\n      timeout: 3s\n      retries: 30\n", "", "redis: has no check of its health"},
		{"a check that is disabled", "    healthcheck:\n      test: [CMD, /service, demo, --healthy, --data, /data]\n      interval: 5s\n      timeout: 6s\n      start_period: 60s\n      retries: 3\n", "    healthcheck: {disable: true}\n", "demo: has no check of its health"},
		{"no start after a crash", "    image: axllent/mailpit:v1.20.4\n    restart: unless-stopped\n", "    image: axllent/mailpit:v1.20.4\n", "mail: does not start again"},
		{"no limit of memory", "    mem_limit: 128m\n", "", "mail: has no limit of memory"},
		{"a soft limit above the hard one", "GOMEMLIMIT: 400MiB", "GOMEMLIMIT: 500MiB", "ingest-2: GOMEMLIMIT 500MiB is not a tenth below"},
		{"a password in the file", "POSTGRES_PASSWORD_FILE: /keys/database/password", "POSTGRES_PASSWORD: tollgate", "postgres: POSTGRES_PASSWORD is no file"},
		{"a password in a URL", "${POSTGRES:+/keys/database/url}", "postgres://tollgate:tollgate@postgres/tollgate", "config: TOLLGATE_CONFIG_DATABASE_URL_FILE has a password in it"},
		{"a password in a command", "postgres://tollgate@postgres:5432", "postgres://tollgate:tollgate@postgres:5432", "keys: its command has a secret in it"},
		{"a key on a command line", "--api-key-file, /keys/operator/api-key", "--api-key, tg_x", "demo: its command has a secret in it"},
		{"a key that is not mounted", `volumes: ["hashes:/keys/hashes:ro", "service-keys:/keys/service:ro"]`, `volumes: ["hashes:/keys/hashes:ro"]`, "ingest-1: TOLLGATE_CONFIG_API_KEY_FILE is /keys/service/service-key, which lies in no volume"},
		{"keys that a service may change", "      - keyset:/keys/keyset:ro\n", "      - keyset:/keys/keyset\n", "config: may write /keys/keyset"},
		{"the key of operators for a service", "      - keyset:/keys/keyset:ro\n", "      - keyset:/keys/keyset:ro\n      - operator-keys:/keys/operator:ro\n", "config: has the key of operators"},
		{"Grafana's own password", `GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: "true"`, `GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION: "false"`, "grafana: GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION is not true"},
		{"one of a consumer", `  email-2:
    <<: *email
    environment: {<<: *email-environment, TOLLGATE_GRPC_ADVERTISE: "email-2:7060"}
    ports: []
`, "", "email runs in 1 containers, not in 2"},
		{"twins with one address", `TOLLGATE_GRPC_ADVERTISE: "trigger-2:7040"`, `TOLLGATE_GRPC_ADVERTISE: "trigger-1:7040"`, "trigger-2: does not advertise its own name"},
		{"twins that differ", `TOLLGATE_GRPC_ADVERTISE: "trigger-2:7040"`, `TOLLGATE_GRPC_ADVERTISE: "trigger-2:7040", TOLLGATE_LOG_LEVEL: debug`, "differs from its twin"},
		{"twins without their name", "    networks: {default: {aliases: [provision]}}\n", "", "provision-1: is not found by the name provision"},
		{"a root that can be written", "x-ours: &ours\n  restart: unless-stopped\n  read_only: true\n", "x-ours: &ours\n  restart: unless-stopped\n", "safeguard-2: its root can be written"},
		{"rights that no one needs", "  cap_drop: [ALL]\n", "", "safeguard-2: has more rights than its image gives it"},
		{"root", "    profiles: [demo]\n", "    profiles: [demo]\n    user: \"0\"\n", "demo: has more rights than its image gives it"},
		{"a folder that is not there", "./deploy/prometheus:/etc", "./deploy/prometheuss:/etc", "which does not exist"},
		{"a file that is not there", "--config.file=/etc/prometheus/compose.yml", "--config.file=/etc/prometheus/other.yml", "other.yml: no such file"},
		{"a file that is not mounted", "--config.file=/etc/prometheus/compose.yml", "--config.file=/etc/other.yml", "--config.file=/etc/other.yml is not mounted"},
		{"a variable that no process reads", "TOLLGATE_PROVISION_ADDR: provision:7070\n      TOLLGATE_SECRETS", "TOLLGATE_PROVISION_AT: provision:7070\n      TOLLGATE_SECRETS", "config: no process reads TOLLGATE_PROVISION_AT"},
		{"a setting that is refused", "TOLLGATE_ADMIN_LISTEN: 0.0.0.0:7960", "TOLLGATE_ADMIN_LISTEN: \"7960\"", "email-1: "},
		{"an address of nothing", "TOLLGATE_REDIS_ADDRESS: redis:6379", "TOLLGATE_REDIS_ADDRESS: redis:6380", "nothing listens at redis:6380"},
		{"a listener that others don't reach", "TOLLGATE_GRPC_LISTEN: 0.0.0.0:7040", "TOLLGATE_GRPC_LISTEN: 127.0.0.1:7040", "trigger-1: listens at 127.0.0.1:7040"},
		{"a process that is not scraped", "TOLLGATE_ADMIN_LISTEN: 0.0.0.0:7940", "TOLLGATE_ADMIN_LISTEN: 0.0.0.0:7941", "prometheus: scrapes"},
		{"a stop that kills", "  stop_grace_period: 30s\n", "  stop_grace_period: 10s\n", "webhook-1: is killed before its shutdown_timeout of 20s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.Replace(text(t), c.old, c.new, 1)
			if changed == text(t) {
				t.Fatalf("the file has no %q", c.old)
			}
			p, err := load(t, changed, profiles, nil)
			if err != nil {
				t.Fatal(err)
			}
			f := broken(p)
			if !slices.ContainsFunc(f, func(f string) bool { return strings.Contains(f, c.fault) }) {
				t.Errorf("%q is not found, but %q", c.fault, f)
			}
		})
	}
}
