package cli

import (
	"context"
	"time"

	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/try"
)

// demoCommand runs the sample against services that run.
type demoCommand struct {
	command.Kafka
	command.Key
	APIKeyFile string   `type:"existingfile" help:"File with the API key, in place of --api-key." placeholder:"FILE"`
	Data       string   `help:"Keep what the receiver has in this folder, to go on from there; without it nothing is kept." placeholder:"DIR"`
	Once       bool     `help:"End once the first delivery was received and its signature verified; after 60 s in vain with the reason."`
	Healthy    bool     `help:"Start nothing; exit 0 if the demo of this --data folder has received a delivery and verified its signature, and 1 if not yet: for supervisors."`
	Config     string   `env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
	Ingest     string   `env:"TOLLGATE_INGEST_ADDR" default:"127.0.0.1:7020" help:"Ingest service; ${default} by default." placeholder:"HOST:PORT"`
	Safeguard  string   `env:"TOLLGATE_SAFEGUARD_ADDR" default:"127.0.0.1:7030" help:"Safeguard service; ${default} by default." placeholder:"HOST:PORT"`
	Provision  string   `env:"TOLLGATE_PROVISION_ADDR" default:"127.0.0.1:7070" help:"Provision service; ${default} by default." placeholder:"HOST:PORT"`
	Listen     string   `default:"127.0.0.1:19443" help:"Where the receiver listens; ${default} by default." placeholder:"HOST:PORT"`
	Host       string   `default:"127.0.0.1" help:"What the services call the receiver by; ${default} by default." placeholder:"HOST"`
	SMTP       string   `name:"smtp" default:"127.0.0.1:1025" help:"Mail server that the e-mail of the sample goes to, in clear; ${default} by default." placeholder:"HOST:PORT"`
	Networks   []string `name:"network" default:"127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16" help:"Networks that the receiver and the mail server lie in, where they are not public: loopback and private ones by default." placeholder:"CIDR"`
}

// Help is shown below the flags.
func (demoCommand) Help() string {
	return `Does what try does with services that run already: applies the sample tenant, sends its traffic until it is interrupted, receives
the deliveries and verifies them. It changes the tenant "sample" alone. The profile demo of docker-compose.yml runs it.

Example:

    tollgate demo --once

    tollgate demo --data demo-data --listen 0.0.0.0:19443 --host demo.internal --smtp mail.internal:1025`
}

// AfterApply is called by kong once the flags are read.
func (c *demoCommand) AfterApply() error {
	if c.Healthy && c.Data == "" {
		return command.UsageError("--healthy needs --data, the folder of the demo that is asked about")
	}
	if c.APIKeyFile == "" {
		return nil
	}
	key, err := rpc.ReadKey(c.APIKeyFile)
	if err != nil {
		return command.UsageError(err.Error())
	}
	c.APIKey = key
	return nil
}

// Run shows.
func (c *demoCommand) Run(ctx context.Context, streams command.Streams, started since) error {
	if c.Healthy {
		return try.Shown(c.Data)
	}
	if c.APIKey == "" {
		return command.UsageError("--api-key-file or TOLLGATE_API_KEY is required")
	}
	return try.Run(ctx, try.Config{
		Data: c.Data, Once: c.Once, Started: time.Time(started), Out: command.Drawn(streams.Out), Err: command.Drawn(streams.Err),
		Colour: command.IsTerminal(streams.Out),
		Running: &try.Running{
			Key:      c.APIKey,
			Services: map[string]string{"config": c.Config, "ingest": c.Ingest, "safeguard": c.Safeguard, "provision": c.Provision},
			Dial:     c.Dial, Kafka: c.Open,
			Listen: c.Listen, Host: c.Host, SMTP: c.SMTP, Networks: c.Networks,
		},
	})
}
