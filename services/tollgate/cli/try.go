package cli

import (
	"context"
	"os"
	"time"

	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/try"
)

// tryCommand runs everything.
type tryCommand struct {
	Data    string `help:"Keep everything in this folder, to go on from there; without it nothing is kept." placeholder:"DIR"`
	Once    bool   `help:"End once the first delivery was received and its signature verified; after 60 s in vain with the reason."`
	Verbose bool   `help:"Logs of the services to standard error, not to files in the data folder."`
}

// Help is shown below the flags.
func (tryCommand) Help() string {
	return `Starts Kafka, Redis and every service inside this process, on loopback; configures a sample tenant; sends usage that
crosses a safeguard's alert and its limit; receives the deliveries, and verifies them. It needs no other program.

Example:

    tollgate try

    tollgate try --data tollgate-data`
}

// Run tries.
func (c tryCommand) Run(ctx context.Context, streams command.Streams, started since) error {
	return try.Run(ctx, try.Config{
		Data: c.Data, Once: c.Once, Verbose: c.Verbose, Started: time.Time(started), Out: command.Drawn(streams.Out), Err: command.Drawn(streams.Err),
		Colour: command.IsTerminal(streams.Out), Program: os.Args[0],
	})
}
