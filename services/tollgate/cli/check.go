package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/state/redisstate"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
)

// checkCommand compares the installation with its requirements.
type checkCommand struct {
	Topics
	command.Key
	command.Listing
	Redis         string        `env:"TOLLGATE_REDIS_ADDRESS" default:"127.0.0.1:6379" help:"Redis; ${default} by default." placeholder:"HOST:PORT"`
	RedisUser     string        `env:"TOLLGATE_REDIS_USERNAME" help:"User of Redis, where it asks for one." placeholder:"NAME"`
	RedisPassword string        `env:"TOLLGATE_REDIS_PASSWORD_FILE" type:"existingfile" help:"File with the password of Redis." placeholder:"FILE"`
	Config        string        `env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
	Ingest        string        `env:"TOLLGATE_INGEST_ADDR" default:"127.0.0.1:7020" help:"Ingest service; ${default} by default." placeholder:"HOST:PORT"`
	MaxAge        time.Duration `default:"144h" help:"How long a delivery may wait (deliveries.max_age); ${default} by default. Kafka keeps deliveries and attempts a day longer." placeholder:"DURATION"`
}

// AfterApply is called by kong once the flags are read.
func (c checkCommand) AfterApply() error {
	if c.MaxAge < 36*time.Hour {
		return command.UsageError(fmt.Sprintf("--max-age must be at least 36h, is %s", c.MaxAge))
	}
	return c.Topics.AfterApply()
}

// Help is shown below the flags.
func (checkCommand) Help() string {
	return `Exits 1 where a check fails, and prints what to do about it. "unverified" is not a failure: Redis does not show its
settings, and the operator vouches for them with redis.skip_durability_check.

Example:

    tollgate check --brokers 127.0.0.1:9092 --redis 127.0.0.1:6379 --single-node`
}

// Results of a finding.
const (
	wellFound  = "ok"
	faultFound = "fault"
	unverified = "unverified"
)

// finding is the result of one check.
type finding struct {
	What   string `json:"what"`
	Result string `json:"result"`
	Detail string `json:"detail"`
	// Do is the remedy.
	Do string `json:"do,omitempty"`
}

// checkTimeout bounds the checks of each server: an command.Unreachable one must not hide the others.
const checkTimeout = 10 * time.Second

// sentence is the width of a column of sentences.
const sentence = 56

// Run checks.
func (c checkCommand) Run(ctx context.Context, streams command.Streams) error {
	var all []finding
	for _, look := range []func(context.Context, command.Streams) ([]finding, error){c.kafka, c.redis, c.config, c.ingest} {
		within, cancel := context.WithTimeout(ctx, checkTimeout)
		found, err := look(within, streams)
		cancel()
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	c.Width = sentence
	err := command.Write(c.Listing, streams.Out, all, []string{"what", "result", "detail", "what to do"}, func(f finding) []string {
		return []string{f.What, f.Result, f.Detail, f.Do}
	})
	if err != nil {
		return err
	}
	for _, f := range all {
		if f.Result == faultFound {
			return command.ErrReported
		}
	}
	return nil
}

func (c checkCommand) kafka(ctx context.Context, streams command.Streams) ([]finding, error) {
	client, err := c.Open()
	if err != nil {
		return nil, err
	}
	defer command.Close(client)
	what := fmt.Sprintf("kafka %v", c.Brokers)
	specs, waiting := c.topics()
	err = client.VerifyTopics(ctx, specs, c.SingleNode)
	if err == nil {
		found := []finding{{what, wellFound, fmt.Sprintf("%d topics of %d partitions are as they must be", len(specs), c.Partitions), ""}}
		for _, topic := range waiting {
			found = append(found, c.disk(ctx, client, streams, topic))
		}
		return found, nil
	}
	if ctx.Err() != nil {
		causes := flat(err)
		return []finding{{what, faultFound, "does not answer: " + causes[len(causes)-1].Error(), "start it, or name it with --brokers"}}, nil
	}
	var found []finding
	for _, e := range flat(err) {
		found = append(found, finding{what, faultFound, e.Error(), "tollgate topics create makes what is missing; settings are changed with Kafka's own tools"})
	}
	return found, nil
}

// kept is how long Kafka keeps a delivery and its attempts.
func (c checkCommand) kept() time.Duration { return c.MaxAge + 24*time.Hour }

// topics are what all topics must be; waiting are those whose records are read as long as a delivery may wait.
func (c checkCommand) topics() (specs []stream.TopicSpec, waiting []string) {
	waiting = append(waiting, stream.DeliveriesAttempts)
	for _, channel := range table.Channels.Served() {
		waiting = append(waiting, channel.Topic)
	}
	specs = table.Topics(c.Partitions)
	for _, s := range specs {
		if slices.Contains(waiting, s.Name) {
			s.Config["retention.ms"] = strconv.FormatInt(c.kept().Milliseconds(), 10)
		}
	}
	return specs, waiting
}

// measured is the time before now whose records are what comes.
const measured = time.Hour

// disk is what a topic takes over the time that it is kept, at the rate of now.
func (c checkCommand) disk(ctx context.Context, client *stream.Client, streams command.Streams, topic string) finding {
	what := "disk " + topic
	v, err := records.Written(ctx, client, streams, topic, measured)
	switch {
	case err != nil:
		return finding{what, unverified, "is not measured: " + err.Error(), "look at the broker's log"}
	case v.Records == 0:
		return finding{what, unverified, fmt.Sprintf("is kept for %s; nothing was written in the last hour, so what that takes is not known", c.kept()), "look again under load"}
	}
	return finding{what, wellFound, fmt.Sprintf("is kept for %s: about %.1f GiB a replica before compression, as %d records of %.0f bytes in the last hour",
		c.kept(), v.Bytes(c.kept())/(1<<30), v.Records, v.Size), ""}
}

// flat lists each error that was joined into err, or wrapped beside another.
func flat(err error) []error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if joined, ok := inner.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
	}
	return []error{err}
}

func (c checkCommand) redis(ctx context.Context, _ command.Streams) ([]finding, error) {
	cfg := redisstate.DefaultConfig()
	cfg.Address, cfg.Username, cfg.PasswordFile = c.Redis, c.RedisUser, c.RedisPassword
	what := "redis " + c.Redis
	settings, err := redisstate.Inspect(ctx, cfg)
	if err != nil {
		//nolint:nilerr // that it does not answer is what was found
		return []finding{{what, faultFound, "does not answer: " + err.Error(), "start it, or name it with --redis"}}, nil
	}
	var found []finding
	for _, text := range settings.Violations() {
		found = append(found, finding{what, faultFound, text, "set it in redis.conf"})
	}
	switch {
	case !settings.Known:
		found = append(found, finding{what, unverified, "does not show its settings (CONFIG GET)",
			"allow CONFIG GET, or make sure of appendonly yes, appendfsync always, maxmemory-policy noeviction, and set redis.skip_durability_check"})
	case len(found) == 0:
		found = append(found, finding{what, wellFound, fmt.Sprintf("version %s, appendfsync %s, %s", settings.Version, settings.AppendFsync, settings.Policy), ""})
	}
	return found, nil
}

func (c checkCommand) config(ctx context.Context, _ command.Streams) ([]finding, error) {
	return c.service(ctx, "config "+c.Config, c.Config, "--config", func(ctx context.Context, conn *grpc.ClientConn) (string, error) {
		parts, err := configv1.NewConfigWatchServiceClient(conn).Snapshot(ctx, &configv1.SnapshotRequest{})
		if err != nil {
			return "", err
		}
		s, err := configclient.Collect(parts, nil)
		return fmt.Sprintf("revision %d: %d tenants, %d classes of service, %d endpoints, %d notifications", s.GetRevision(),
			len(s.GetTenants()), len(s.GetClassesOfService()), len(s.GetEndpoints()), len(s.GetNotifications())), err
	})
}

// ingest is asked to take nothing: it answers all the same, and knows the key.
func (c checkCommand) ingest(ctx context.Context, _ command.Streams) ([]finding, error) {
	return c.service(ctx, "ingest "+c.Ingest, c.Ingest, "--ingest", func(ctx context.Context, conn *grpc.ClientConn) (string, error) {
		_, err := ingestv1.NewIngestServiceClient(conn).PublishBatch(ctx, &ingestv1.PublishBatchRequest{})
		return "takes events", err
	})
}

func (c checkCommand) service(ctx context.Context, what, address, flag string, ask func(context.Context, *grpc.ClientConn) (string, error)) ([]finding, error) {
	conn, err := c.Dial(address)
	if err != nil {
		return nil, err
	}
	defer command.Close(conn)
	detail, err := ask(ctx, conn)
	switch {
	case err == nil:
		return []finding{{what, wellFound, detail, ""}}, nil
	case fault.KindOf(err) == fault.Unauthenticated:
		return []finding{{what, faultFound, err.Error(),
			"set TOLLGATE_API_KEY to a key whose hash the service has; this one's is " + rpc.HashKey(c.APIKey)[:8] + "…"}}, nil
	case fault.KindOf(err) == fault.Unavailable || errors.Is(err, context.DeadlineExceeded):
		return []finding{{what, faultFound, err.Error(), "start it, or name it with " + flag}}, nil
	}
	return []finding{{what, faultFound, err.Error(), "see the service's log"}}, nil
}
