package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tollgate/tollgate/pkg/fault"
)

type testConfig struct {
	Config `yaml:",inline"`
	Kafka  testKafka     `yaml:"kafka"`
	Wait   time.Duration `yaml:"wait" env:"TOLLGATE_WAIT"`
	Size   int           `yaml:"size" env:"TOLLGATE_SIZE"`
}

type testKafka struct {
	Brokers []string `yaml:"brokers" env:"TOLLGATE_KAFKA_BROKERS"`
}

func (c testConfig) Validate() error {
	var f fault.Violations
	if len(c.Kafka.Brokers) == 0 {
		f.Add("kafka.brokers", "at least one is required")
	}
	if c.Size < 1 {
		f.Add("size", "must be at least 1")
	}
	return f.Err("CONFIG_INVALID")
}

func testDefaults() testConfig {
	return testConfig{
		Config: DefaultConfig("127.0.0.1:0"), Wait: time.Second, Size: 3,
		Kafka: testKafka{Brokers: []string{"127.0.0.1:9092"}},
	}
}

func load(t *testing.T, yaml string, environ ...string) (testConfig, []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testDefaults()
	err := Load(path, environ, &cfg)
	if err == nil {
		return cfg, nil
	}
	return cfg, strings.Split(strings.ReplaceAll(err.Error(), path, "service.yaml"), "\n")
}

func TestLoad_FileOverridesDefaultsEnvironmentOverridesFile(t *testing.T) {
	cfg, faults := load(t, "wait: 250ms\nsize: 7\nshutdown_timeout: 3s\nkafka:\n  brokers: [a:1, b:2]\n",
		"TOLLGATE_SIZE=9", "TOLLGATE_KAFKA_BROKERS=c:3,d:4", "TOLLGATE_TEST_KAFKA=x", "TOLLGATE_API_KEY=k", "HOME=/",
		"TOLLGATE_REAL=1", "TOLLGATE_CONFIG_ADDR=h:1", "TOLLGATE_HTTP_LISTEN=127.0.0.1:1", "TOLLGATE_REDIS_ADDRESS=h:2", "TOLLGATE_ADMIN_LISTEN=127.0.0.1:99")
	if faults != nil {
		t.Fatal(faults)
	}
	want := testDefaults()
	want.Wait, want.Size, want.ShutdownTimeout = 250*time.Millisecond, 9, 3*time.Second
	want.Kafka.Brokers, want.Admin.Listen = []string{"c:3", "d:4"}, "127.0.0.1:99"
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_NamesEveryViolation(t *testing.T) {
	tests := map[string]struct {
		yaml    string
		environ []string
		want    []string
	}{
		"unknown keys, wrong types, unknown variables and broken rules come together": {
			yaml: "sise: 4\nwait: soon\nlog_level: loud\nkafka:\n  brokers: []\n  broker: a:1\nadmin:\n  listen: nowhere\n",
			environ: []string{
				"TOLLGATE_SIEZ=4", "TOLLGATE_SIZE=many", "TOLLGATE_NONSENSE=1", "TOLLGATE_REDIS_ADDRESSX=h:2",
			},
			want: []string{
				`service.yaml:1: field sise is not known`,
				`service.yaml:2: cannot construct !!str ` + "`soon`" + ` into time.Duration`,
				`service.yaml:6: field broker is not known`,
				`environment variable TOLLGATE_NONSENSE is not known`,
				`environment variable TOLLGATE_REDIS_ADDRESSX is not known, did you mean TOLLGATE_REDIS_ADDRESS?`,
				`environment variable TOLLGATE_SIEZ is not known, did you mean TOLLGATE_SIZE?`,
				`environment: TOLLGATE_SIZE cannot be read: strconv.ParseInt: parsing "many": invalid syntax`,
				`admin.listen: must be host:port, not "nowhere"`,
				`log_level: must be debug, info, warn or error, not "loud"`,
				`kafka.brokers: at least one is required`,
			},
		},
		"a syntax error has its line": {
			yaml: "size: 1\nkafka: [\n",
			want: []string{"service.yaml:3: did not find expected node content"},
		},
		"a key that stands twice": {
			yaml: "size: 1\nsize: 2\n",
			want: []string{"service.yaml:2: mapping key \"size\" already defined at line 1"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, faults := load(t, tc.yaml, tc.environ...)
			if diff := cmp.Diff(tc.want, faults); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoad_FileOfCommentsIsTheDefaults(t *testing.T) {
	for _, yaml := range []string{"", "# nothing\n\n  # here\n"} {
		cfg, faults := load(t, yaml)
		if faults != nil || !cmp.Equal(cfg, testDefaults()) {
			t.Errorf("%q: %v, %v", yaml, cfg, faults)
		}
	}
}

func TestLoad_MissingFileIsAnError(t *testing.T) {
	cfg := testDefaults()
	err := Load("no-such.yaml", nil, &cfg)
	if err == nil || err.Error() != "no-such.yaml: there is no such file" {
		t.Error(err)
	}
}
