package cli

import (
	"fmt"
	"strings"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// topicsACL prints permissions.
type topicsACL struct {
	command.Listing
	Prefix    string `env:"TOLLGATE_KAFKA_PREFIX" default:"tollgate" help:"Prefix of every topic and group."`
	Principal string `default:"User:tollgate-{}" help:"How Kafka knows them; {} is replaced by the service, producer, consumer or operator." placeholder:"PATTERN"`
	// TopicPrefix are topics of tenants.
	TopicPrefix []string `name:"topic-prefix" help:"Beginning of topics that notifications publish to, as in topic_prefixes of a tenant; may be repeated." placeholder:"PREFIX"`
	Commands    bool     `help:"Print the commands of Kafka's own tool instead, for --command-config and --bootstrap-server in $ACL_OPTIONS."`
}

// Help is shown below the flags.
func (topicsACL) Help() string {
	return `The permissions that each service, producers, consumers and the command line need; grant them to no other principal. A
principal that may write events.ordered or safeguards can forge calls, revisions of the configuration and outcomes:
producers write only events.inbound, where ingest rejects what only Tollgate publishes. A consumer needs Read on its own group besides. Kafka's access
control cannot separate tenants on one topic: consumers see all of them.

Example:

    tollgate topics acl

    tollgate topics acl --topic-prefix acme. --topic-prefix globex-

    tollgate topics acl --prefix prod --principal 'User:CN={},O=acme' --commands`
}

// AfterApply is called by kong once the flags are read.
func (c topicsACL) AfterApply() error {
	switch {
	case !strings.Contains(c.Principal, "{}"):
		return command.UsageError("--principal must have {} in place of the name, or all would have the same rights")
	case strings.Contains(c.Principal, "'"):
		return command.UsageError("--principal must be without quotation marks")
	}
	var faults []string
	for _, p := range c.TopicPrefix {
		if err := channel.CheckTopicPrefix(p, c.Prefix); err != nil {
			faults = append(faults, fmt.Sprintf("--topic-prefix %q %v", p, err))
		}
	}
	if faults != nil {
		return command.UsageError(strings.Join(faults, "\n"))
	}
	return nil
}

type permissionRow struct {
	Principal string `json:"principal"`
	Operation string `json:"operation"`
	Resource  string `json:"resource"`
	Name      string `json:"name"`
}

// Run prints.
func (c topicsACL) Run(streams command.Streams) error {
	var rows []permissionRow
	for _, p := range table.Permissions(c.Prefix, c.TopicPrefix...) {
		rows = append(rows, permissionRow{strings.ReplaceAll(c.Principal, "{}", p.Who), p.Operation, p.Resource, p.Name})
	}
	if !c.Commands {
		return command.Write(c.Listing, streams.Out, rows, []string{"principal", "operation", "resource", "name"}, func(r permissionRow) []string {
			return []string{r.Principal, r.Operation, r.Resource, r.Name}
		})
	}
	for _, r := range rows {
		name, pattern := strings.CutSuffix(r.Name, "*")
		line := fmt.Sprintf("kafka-acls.sh $ACL_OPTIONS --add --allow-principal '%s' --operation %s --%s '%s'",
			r.Principal, r.Operation, strings.ToLower(r.Resource), name)
		if pattern {
			line += " --resource-pattern-type prefixed"
		}
		if _, err := fmt.Fprintln(streams.Out, line); err != nil {
			return err
		}
	}
	return nil
}
