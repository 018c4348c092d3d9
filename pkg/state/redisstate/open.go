package redisstate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Config is where Redis is.
type Config struct {
	// Address is host:port.
	Address string `yaml:"address" env:"TOLLGATE_REDIS_ADDRESS"`
	// Prefix stands before every key, so that several installations may share one Redis. Letters, digits, '-', '_' and
	// '.'.
	Prefix string `yaml:"prefix" env:"TOLLGATE_REDIS_PREFIX"`
	// Username and PasswordFile for ACLs; empty where Redis asks for none.
	Username     string `yaml:"username" env:"TOLLGATE_REDIS_USERNAME"`
	PasswordFile string `yaml:"password_file" env:"TOLLGATE_REDIS_PASSWORD_FILE"`
	// Timeout of one call. A call that takes longer makes its partition open again.
	Timeout time.Duration `yaml:"timeout" env:"TOLLGATE_REDIS_TIMEOUT"`
	// SkipDurabilityCheck accepts a Redis whose settings can't be read (CONFIG is missing or not allowed). The operator
	// who sets it vouches for appendfsync and maxmemory-policy.
	SkipDurabilityCheck bool `yaml:"skip_durability_check" env:"TOLLGATE_REDIS_SKIP_DURABILITY_CHECK"`
}

// DefaultConfig is a Redis on this machine.
func DefaultConfig() Config {
	return Config{Address: "127.0.0.1:6379", Prefix: "tollgate", Timeout: 5 * time.Second}
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Validate lists every fault.
func (c Config) Validate() error {
	var violations []error
	if c.Address == "" {
		violations = append(violations, errors.New("redis.address: required, host:port"))
	}
	if !prefixPattern.MatchString(c.Prefix) {
		violations = append(violations, fmt.Errorf("redis.prefix: %q is not 1 to 64 letters, digits, '.', '_' or '-'", c.Prefix))
	}
	if c.Timeout <= 0 || c.Timeout > 15*time.Second {
		violations = append(violations, fmt.Errorf("redis.timeout: %s is not above 0 and at most 15s", c.Timeout))
	}
	return errors.Join(violations...)
}

// Open makes a client and checks that Redis keeps what it is given.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := connect(c)
	if err != nil {
		return nil, err
	}
	if err := s.verify(ctx, c.SkipDurabilityCheck); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Inspect reads the settings of a Redis that Open may refuse.
func Inspect(ctx context.Context, c Config) (Settings, error) {
	s, err := connect(c)
	if err != nil {
		return Settings{}, err
	}
	settings, err := s.Settings(ctx)
	return settings, errors.Join(err, s.Close())
}

func connect(c Config) (*Store, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	password := ""
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("read redis password: %w", err)
		}
		password = strings.TrimSpace(string(b))
	}
	// A call is never sent twice by the client: after a lost answer only the watermark shows whether it happened.
	client := redis.NewClient(&redis.Options{
		Addr: c.Address, Username: c.Username, Password: password,
		MaxRetries: -1, DisableIdentity: true, ContextTimeoutEnabled: true,
		DialTimeout: c.Timeout, ReadTimeout: c.Timeout, WriteTimeout: c.Timeout,
		ReadBufferSize: 256 << 10, WriteBufferSize: 256 << 10,
	})
	return &Store{prefix: c.Prefix, redis: client, group: &group{redis: client}}, nil
}

// Settings are what a Redis must be set to, and what it is set to.
type Settings struct {
	Version, AppendFsync, AppendOnly, Policy string
	// Known is false where CONFIG is not there or not allowed.
	Known bool
}

// Violations lists what would lose acknowledged state.
func (s Settings) Violations() []string {
	var violations []string
	if major, _, _ := strings.Cut(s.Version, "."); s.Version != "" {
		if n, err := strconv.Atoi(major); err != nil || n < 7 {
			violations = append(violations, fmt.Sprintf("redis is version %s, 7.0 or newer is required", s.Version))
		}
	}
	if !s.Known {
		return violations
	}
	if s.Policy != "noeviction" {
		violations = append(violations, fmt.Sprintf("maxmemory-policy is %s: counters would be evicted; set noeviction", s.Policy))
	}
	if s.AppendOnly != "yes" {
		violations = append(violations, "appendonly is "+s.AppendOnly+": a restart would lose everything since the last dump; set yes")
	}
	if s.AppendFsync != "always" {
		violations = append(violations, "appendfsync is "+s.AppendFsync+": a crash would lose acknowledged commits and cost a rebuild; set always")
	}
	return violations
}

// Settings reads them.
func (s *Store) Settings(ctx context.Context) (Settings, error) {
	var out Settings
	info, err := s.redis.Info(ctx, "server").Result()
	if err != nil && !isCommandMissing(err) {
		return out, fmt.Errorf("ask redis for its version: %w", err)
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "redis_version:"); ok {
			out.Version = strings.TrimSpace(v)
		}
	}
	got := make(map[string]string)
	for _, name := range []string{"appendonly", "appendfsync", "maxmemory-policy"} {
		values, err := s.redis.ConfigGet(ctx, name).Result()
		if isCommandMissing(err) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("ask redis for its settings: %w", err)
		}
		got[name] = values[name]
	}
	out.AppendOnly, out.AppendFsync, out.Policy, out.Known = got["appendonly"], got["appendfsync"], got["maxmemory-policy"], true
	return out, nil
}

// isCommandMissing: the server has no such command, or does not let us use it. These are the two answers Redis has
// words, and no codes, for.
func isCommandMissing(err error) bool {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return false
	}
	text := strings.ToLower(answer.Error())
	return strings.HasPrefix(text, "err unknown command") || strings.HasPrefix(text, "noperm") || strings.Contains(text, "not supported")
}

func (s *Store) verify(ctx context.Context, skipDurabilityCheck bool) error {
	settings, err := s.Settings(ctx)
	if err != nil {
		return err
	}
	violations := settings.Violations()
	if !settings.Known && !skipDurabilityCheck {
		violations = append(violations, "redis does not show its settings (CONFIG): allow `CONFIG GET`, or set redis.skip_durability_check if you know that appendfsync is always and maxmemory-policy noeviction")
	}
	if len(violations) > 0 {
		return fmt.Errorf("redis at %s would not keep what it is given: %s", s.redis.Options().Addr, strings.Join(violations, "; "))
	}
	return nil
}
