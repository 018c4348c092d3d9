package stream

import (
	"maps"
	"strconv"
	"strings"
	"time"
)

// Names of Tollgate's topics, before the prefix.
const (
	EventsInbound       = "events.inbound"
	EventsOrdered       = "events.ordered"
	EventsUnordered     = "events.unordered"
	EventsRejected      = "events.rejected"
	Safeguards          = "safeguards"
	DeliveriesAttempts  = "deliveries.attempts"
	DeliveriesDead      = "deliveries.dead"
	StateSnapshots      = "state.snapshots"
	TriggersDecisions   = "triggers.decisions"
	ProvisionExecutions = "provision.executions"
	Audit               = "audit"
)

const (
	day = 24 * time.Hour
	mib = 1 << 20
)

// How long the topics keep what state is rebuilt from.
const (
	LogRetention      = 7 * day
	SnapshotRetention = 2 * day
)

// Topics is the table of Tollgate's topics; planned are those with the deliveries of its channels. The logs whose owners fold state
// over them, and the deliveries with their attempts, share one partition count
// for life; what has no order or no owner has the same count only for evenness.
//
// Retention: ordered logs and safeguards are what counters are rebuilt from (7
// days at least); a delivery may wait 6 days and must be readable for one more;
// snapshots come every quarter of an hour. None is bounded by bytes: that would
// remove what was promised by time.
func Topics(partitions int, planned ...string) []TopicSpec {
	topic := func(name string, retention time.Duration, more map[string]string) TopicSpec {
		cfg := map[string]string{
			"cleanup.policy":                 "delete",
			"retention.ms":                   strconv.FormatInt(retention.Milliseconds(), 10),
			"retention.bytes":                "-1",
			"max.message.bytes":              strconv.Itoa(2 * mib),
			"message.timestamp.type":         "CreateTime",
			configMinInsync:                  "2",
			"unclean.leader.election.enable": "false",
		}
		maps.Copy(cfg, more)
		return TopicSpec{Name: name, Partitions: partitions, Config: cfg, Replication: 3}
	}
	// Log time is the highest stamp met; one far ahead would fire every timer. The broker refuses it.
	logTime := map[string]string{configTimestampMax: "10000"}
	specs := []TopicSpec{
		topic(EventsInbound, 7*day, nil),
		topic(EventsOrdered, LogRetention, logTime),
		topic(EventsUnordered, LogRetention, logTime),
		// Bytes as received up to 4 MiB, and room for the headers with the reason.
		topic(EventsRejected, 30*day, map[string]string{"max.message.bytes": strconv.Itoa(4*mib + 256<<10)}),
		topic(Safeguards, LogRetention, logTime),
	}
	for _, name := range planned {
		specs = append(specs, topic(name, 7*day, nil))
	}
	return append(specs,
		topic(DeliveriesAttempts, 7*day, nil),
		topic(DeliveriesDead, 30*day, nil),
		topic(StateSnapshots, SnapshotRetention, nil),
		topic(TriggersDecisions, 7*day, nil),
		topic(ProvisionExecutions, 30*day, nil),
		topic(Audit, 365*day, nil),
	)
}

// NamingRevisions are the topics whose records name revisions of the configuration that must be readable as long as they are.
var NamingRevisions = []string{EventsOrdered, EventsUnordered, Safeguards, StateSnapshots}

// isPlanned reports whether a topic, without the prefix, holds the planned deliveries of a channel.
func isPlanned(name string) bool {
	return strings.HasPrefix(name, "deliveries.") && name != DeliveriesAttempts && name != DeliveriesDead
}
