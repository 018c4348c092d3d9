package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/services/tollgate/cli/backup"
	"github.com/tollgate/tollgate/services/tollgate/cli/changes"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/cli/hooks"
	"github.com/tollgate/tollgate/services/tollgate/cli/keys"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands is the grammar; each command's own struct describes its flags.
type commands struct {
	Try    tryCommand  `cmd:"" help:"Run everything in one process, with sample traffic and a receiver of its deliveries."`
	Demo   demoCommand `cmd:"" help:"Send the sample traffic to services that run, with a receiver of its deliveries."`
	Topics struct {
		Create createTopics `cmd:"" help:"Create the topics that are missing."`
		Verify verifyTopics `cmd:"" help:"Compare topics with what they must be."`
		ACL    topicsACL    `cmd:"" name:"acl" help:"Print what Kafka must allow to whom."`
	} `cmd:"" help:"Create and verify Kafka topics, print their access control."`
	Apply    applyCommand  `cmd:"" help:"Bring configuration from YAML files to the configuration service."`
	Get      getCommand    `cmd:"" help:"Show configuration."`
	Delete   deleteCommand `cmd:"" help:"Delete configuration."`
	Profiles struct {
		List listProfiles `cmd:"" help:"List the ready classes of service."`
		Show showProfile  `cmd:"" help:"Print one, with the source of each value."`
	} `cmd:"" help:"Ready classes of service, as laws and practice have them."`
	Send   sendCommand `cmd:"" help:"Send events, one CloudEvents JSON object a line."`
	Import struct {
		Subscribers importSubscribers `cmd:"" help:"Import subscribers, their options and counters from a CSV file."`
	} `cmd:"" help:"Bring in what another system has."`
	Rejected struct {
		List   records.ListRejected   `cmd:"" help:"Show what was rejected, and why."`
		Resend records.ResendRejected `cmd:"" help:"Send again what was rejected for a reason that is mended."`
	} `cmd:"" help:"Show the records on events.rejected, and send them again."`
	Queue struct {
		Subscribe records.Subscribe `cmd:"" help:"Show events of a tenant as they come, and acknowledge them."`
	} `cmd:"" help:"The queue of events for consumers without Kafka."`
	Tail       records.Tail `cmd:"" help:"Show events as they come, without personal data."`
	Deliveries struct {
		Export records.ExportDeliveries `cmd:"" help:"Write the attempts to deliver, one JSON object a line."`
	} `cmd:"" help:"What became of deliveries."`
	VerifyReceipts records.VerifyReceipts `cmd:"" help:"Compare a receiver's log with the attempts: what is lost, repeated, out of order."`
	Option         struct {
		Get     getOption     `cmd:"" help:"Show the options of a subscriber."`
		Set     setOption     `cmd:"" help:"Change an option of a subscriber."`
		Explain explainOption `cmd:"" help:"Show what made the figures of a subscriber."`
		Verify  verifyOption  `cmd:"" help:"Recompute counters from the log, and show what differs."`
		Reapply reapplyOption `cmd:"" help:"Let the subscribers of a class take over the class as it is now."`
	} `cmd:"" help:"Show, change, explain and verify the options of subscribers."`
	Test     testCommand  `cmd:"" help:"Send a test by a draft or a live endpoint or profile, once."`
	Check    checkCommand `cmd:"" help:"Compare Kafka, Redis and the services with what is required."`
	Endpoint struct {
		Health   endpointHealth   `cmd:"" help:"Show whether an endpoint takes what is sent, and what waits for it."`
		Pause    pauseEndpoint    `cmd:"" help:"Send nothing to an endpoint, and cancel nothing."`
		Resume   resumeEndpoint   `cmd:"" help:"End a pause."`
		Activate activateEndpoint `cmd:"" help:"Set an endpoint to active, which ends a suspension."`
	} `cmd:"" help:"Show and change how endpoints are sent to."`
	Hooks struct {
		List    hooks.List             `cmd:"" help:"Show hooks in the order in which they are asked."`
		Test    hooks.Test             `cmd:"" help:"Ask a hook about sample data, without effect."`
		Reorder hooks.Reorder          `cmd:"" help:"Change the order of hooks in one step."`
		Log     records.ListExecutions `cmd:"" help:"Show what hooks were asked and answered."`
	} `cmd:"" help:"Hooks, which are asked before an action."`
	Notification struct {
		Preview previewNotification `cmd:"" help:"Show the messages of a notification for a sample or a past event."`
		DryRun  dryRunNotification  `cmd:"" help:"Count how often a notification would have fired."`
		Explain explainNotification `cmd:"" help:"Show why notifications did or did not fire for an event."`
	} `cmd:"" help:"Try notifications before they are active, and explain what they did."`
	Keys struct {
		New           keys.New           `cmd:"" help:"Make an API key, and the hash that services know it by."`
		Init          keys.Init          `cmd:"" help:"Make the files of keys that an installation needs, those that are missing."`
		WebhookSecret keys.WebhookSecret `cmd:"" help:"Make a secret that signs the webhooks of an endpoint."`
		Keyset        keys.Keyset        `cmd:"" name:"seal" help:"Make the keyset that secrets of the configuration are encrypted with."`
		Rotate        keys.Rotate        `cmd:"" help:"Replace the key of a keyset, step by step and without a stop."`
	} `cmd:"" help:"Make API keys, secrets and the keyset that secrets are encrypted with."`
	Proto struct {
		Export exportProto `cmd:"" help:"Write the .proto files and all they import into a folder."`
	} `cmd:"" help:"Protobuf files for clients in other languages."`
	Config struct {
		AcceptRestore acceptRestore   `cmd:"" help:"Accept that the configuration was set back to a backup or begun anew, so that services follow it."`
		Backup        backup.Backup   `cmd:"" help:"Write the whole configuration with its history into a file."`
		Restore       backup.Restore  `cmd:"" help:"Fill an empty database from such a file."`
		History       changes.History `cmd:"" help:"Show who changed what, and from which value."`
		RestoreOne    changes.Restore `cmd:"" name:"restore-version" help:"Bring a resource back to what it was at a revision."`
	} `cmd:"" help:"The history of the configuration, its backup, and an operator's decisions about it."`
	State struct {
		AcceptGap records.AcceptGap `cmd:"" help:"Accept that part of a log is lost, so that its partition goes on."`
	} `cmd:"" help:"Pass an operator's decision to the owners of state."`
}

// exited carries an exit code through kong, which would otherwise go on after --help.
type exited int

// Run runs one command line, without the program's name, and returns the exit code. started is the start of the
// process, from which try counts.
func Run(ctx context.Context, args []string, streams command.Streams, started time.Time) (code int) {
	streams = streams.Legible()
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exited)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	parser, err := newParser(streams)
	if err != nil {
		fmt.Fprintf(streams.Err, "tollgate: %v\n", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		command.Complain(streams.Err, err)
		fmt.Fprintln(streams.Err, "tollgate: --help shows how it is called")
		return exitUsage
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(streams, since(started))
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, command.ErrReported):
		return exitFailed
	}
	command.Complain(streams.Err, err)
	if usage := (command.UsageError("")); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func newParser(streams command.Streams) (*kong.Kong, error) {
	var grammar commands
	return kong.New(&grammar,
		kong.Name("tollgate"),
		kong.Description("Real-time eventing and spend protection for telecom billing."),
		kong.Writers(streams.Out, streams.Err),
		kong.Exit(func(int) { panic(exited(exitOK)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Vars{"kinds": manifest.KindList(), "channels": strings.Join(table.Channels.Served().Names(), ", ")},
	)
}

// since is the start of the process, with a type of its own for kong.
type since time.Time
