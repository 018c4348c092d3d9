package reference

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tollgate/tollgate/pkg/channel"
	channels "github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
)

// carried is what each topic holds: its key and its value.
var carried = map[string][2]string{
	stream.EventsInbound:       {"the producer's choice", "an Event, or a CloudEvent in one of the [forms](../produce.md#by-kafka) that ingest takes"},
	stream.EventsOrdered:       {"tenant/subject", "Event of an ordered type; control records `system.*` and `command.*`"},
	stream.EventsUnordered:     {"none", "Event of an unordered type; control records `system.*`"},
	stream.EventsRejected:      {"as received", "the bytes as received, with the headers below"},
	stream.Safeguards:          {"tenant/subject", "Event of a type `safeguard.*`; control records `system.*`"},
	stream.DeliveriesAttempts:  {"as its delivery", "`delivery.v1.Attempt` or a settlement, in the partition of its delivery"},
	stream.DeliveriesDead:      {"delivery id", "`delivery.v1.Delivery` with its last attempt"},
	stream.StateSnapshots:      {"domain and partition", "records of a partition's state, between a begin and an end record; read by Tollgate alone"},
	stream.TriggersDecisions:   {"tenant/subject", "`trigger.v1.Decision`: a notification matched and no delivery was planned, and why"},
	stream.ProvisionExecutions: {"tenant/object id", "`provision.v1.Execution`: what one handler was asked, and what it answered"},
	stream.Audit:               {"tenant", "`audit.v1.Record`: a change of the configuration, calls that were refused, or what an operator accepted by hand"},
}

// recordHeaders are the headers of every record that Tollgate writes.
var recordHeaders = [][2]string{
	{event.HeaderSpecVersion, "always `1.0` (CloudEvents 1.0)"},
	{event.HeaderID, "id of the event, unique within tenant and source"},
	{event.HeaderType, "type of the event"},
	{event.HeaderSource, "source of the event"},
	{event.HeaderSubject, "subject, where there is one"},
	{event.HeaderTime, "time of the event, RFC 3339 in UTC with milliseconds"},
	{event.HeaderTenant, "id of the tenant"},
	{event.HeaderCorrelation, "reference of the transaction that caused it, where there is one"},
	{event.HeaderDataSchema, "name of the message that the value is, as a URI: `" + event.SchemaEvent + "` for an Event"},
	{event.HeaderContentType, "always `" + event.ContentTypeProtobuf + "`"},
	{event.HeaderTrace, "W3C Trace Context, where there is one"},
}

// rejectedHeaders are those of a rejected record, beside the headers that it came with.
var rejectedHeaders = [][2]string{
	{event.HeaderRejectedID, "id of the rejection, the same however often it is published"},
	{event.HeaderReason, "a code of [Reasons](../reasons.md)"},
	{event.HeaderDetail, "what is wrong, in words, with what to do"},
	{event.HeaderTopic, "topic of the record"},
	{event.HeaderPartition, "partition of the record"},
	{event.HeaderOffset, "offset of the record; of an unreadable batch its first"},
	{event.HeaderLastOffset, "last offset of a batch that cannot be read"},
	{event.HeaderSHA256, "of a record that is too large for the topic: SHA-256 of its whole value, in hexadecimal"},
	{event.HeaderSize, "of such a record: the length of its whole value in bytes"},
}

// Topics is the page of the topics, their settings and who may do what with them.
func Topics(context.Context, string) (string, error) {
	var b strings.Builder
	head(&b, "Topics and records", `
A prefix and a dot stand before each name: `+"`tollgate.events.ordered`"+`. `+"`kafka.prefix`"+` sets it. `+"`tollgate topics create`"+` makes all
topics, `+"`tollgate topics verify`"+` compares them with this table. All have one number of partitions, which cannot change later, except
that `+"`events.unordered`"+` may grow.

Control records are written between events: their header `+"`ce_type` begins with `system.` or `command.`"+`. Consumers skip them.
`)
	var rows [][]string
	specs := channels.Topics(1)
	for _, spec := range specs {
		what, ok := carried[spec.Name]
		if slices.ContainsFunc(channels.Channels.Served(), func(c *channel.Channel) bool { return c.Topic == spec.Name }) {
			what, ok = [2]string{"ordering key", "`delivery.v1.Delivery`"}, true
		}
		if !ok {
			return "", fmt.Errorf("topic %s: what it holds is missing in package reference", spec.Name)
		}
		retention, err := strconv.ParseInt(spec.Config["retention.ms"], 10, 64)
		if err != nil {
			return "", fmt.Errorf("retention of topic %s: %w", spec.Name, err)
		}
		days := fmt.Sprintf("%g days", (time.Duration(retention)*time.Millisecond).Hours()/24)
		rows = append(rows, []string{code(spec.Name), what[0], what[1], days, spec.Config["max.message.bytes"]})
	}
	if len(carried)+len(channels.Channels.Served()) != len(specs) {
		return "", fmt.Errorf("package reference describes %d topics, there are %d", len(carried)+len(channels.Channels.Served()), len(specs))
	}
	table(&b, []string{"topic", "key", "value", "retention", "largest record in bytes"}, rows)

	b.WriteString("\n## Settings of topics\n\nOn a single node replication and `min.insync.replicas` are left out (`--single-node`).\n")
	b.WriteString(settings(specs))

	b.WriteString("\n## Headers of every record that Tollgate writes\n\nConsumers may filter by them without decoding the value. Records of `state.snapshots`, which Tollgate alone reads, have none.\n")
	table(&b, []string{"header", "value"}, headerRows(recordHeaders))
	fmt.Fprintf(&b, `
## Headers of a rejected record

A record of %s has key, value and headers as they were received, and these headers. Of a value above %d MiB only the first
%d KiB are kept; the whole is at its offset while its own topic keeps it.
`, code(stream.EventsRejected), event.RejectedMax>>20, event.RejectedKept>>10)
	table(&b, []string{"header", "value"}, headerRows(rejectedHeaders))

	b.WriteString("\n## Access\n\nWhat Kafka must allow, and to whom. `tollgate topics acl --commands` prints the same as commands of Kafka's own tool. " +
		"A principal that may write `events.ordered` or `safeguards` can forge calls, revisions of the configuration and outcomes: allow nothing " +
		"beyond this table. A consumer needs Read on its own group besides. On topics that notifications publish to, which begin with a tenant's " +
		"`topic_prefixes`, trigger needs Write and config Describe: `tollgate topics acl --topic-prefix acme.` prints those too.\n")
	table(&b, []string{"who", "operation", "resource", "names"}, permissionRows())
	return b.String(), nil
}

func headerRows(headers [][2]string) [][]string {
	rows := make([][]string, len(headers))
	for i, h := range headers {
		rows[i] = []string{code(h[0]), h[1]}
	}
	return rows
}

// settings are what the topics have in common, and where one differs.
func settings(specs []stream.TopicSpec) string {
	values := map[string]map[string][]string{} // by setting and value, the topics
	for _, spec := range specs {
		for name, value := range spec.Config {
			if values[name] == nil {
				values[name] = map[string][]string{}
			}
			values[name][value] = append(values[name][value], code(spec.Name))
		}
	}
	var rows [][]string
	for name, byValue := range values {
		if name == "retention.ms" || name == "max.message.bytes" { // in the table of topics
			continue
		}
		for value, topics := range byValue {
			of := "all"
			if len(topics) < len(specs) {
				of = strings.Join(topics, ", ")
			}
			rows = append(rows, []string{code(name), code(value), of})
		}
	}
	rows = append(rows, []string{"replication", code(fmt.Sprint(specs[0].Replication)), "all"})
	slices.SortFunc(rows, slices.Compare)
	var b strings.Builder
	table(&b, []string{"setting", "value", "topics"}, rows)
	return b.String()
}

// permissionRows are the permissions, the names of one operation together.
func permissionRows() [][]string {
	var rows [][]string
	for _, p := range channels.Permissions(stream.DefaultConfig().Prefix) {
		row := []string{p.Who, p.Operation, p.Resource, code(p.Name)}
		if n := len(rows); n > 0 && slices.Equal(rows[n-1][:3], row[:3]) {
			rows[n-1][3] += ", " + row[3]
			continue
		}
		rows = append(rows, row)
	}
	return rows
}
