package stream

import "slices"

// Operations and kinds of resource, as Kafka's access control names them.
const (
	OperationRead            = "Read"
	OperationWrite           = "Write"
	OperationCreate          = "Create"
	OperationDescribe        = "Describe"
	OperationDescribeConfigs = "DescribeConfigs"

	ResourceTopic = "Topic"
	ResourceGroup = "Group"
)

// Permission is one thing that has to be allowed. Read and Write include Describe.
type Permission struct {
	// Who is a service, "producer", "consumer" or "operator" (the command line).
	Who       string
	Operation string
	Resource  string
	// Name of the topic or group, with the prefix before it; "*" at the end matches any ending.
	Name string
}

// allowed is what one service, or who has no service, is allowed.
type allowed struct {
	who                   string
	reads, writes, groups []string
}

// Sender is the service of a channel.
type Sender struct {
	Service string
	// Topic of its planned deliveries, without the prefix.
	Topic string
}

// access is who reads and writes which topics, and is a member of which groups, beside the services of channels. No other
// may write a topic: a writer of events.ordered or safeguards can forge calls, revisions and outcomes. Every service writes
// to audit what it refuses, and config what was changed.
var access = []allowed{
	{
		"ingest",
		// What it hands out by EventQueueService, with a group for each subscription.
		[]string{EventsInbound, EventsOrdered, EventsUnordered, Safeguards},
		[]string{EventsOrdered, EventsUnordered, EventsRejected, Audit},
		[]string{"ingest", "queue.*"},
	},
	{
		"safeguard",
		[]string{EventsOrdered, StateSnapshots},
		[]string{EventsOrdered, Safeguards, EventsRejected, StateSnapshots, Audit},
		[]string{"safeguard"},
	},
	{
		"trigger",
		[]string{EventsOrdered, EventsUnordered, Safeguards, StateSnapshots},
		[]string{EventsOrdered, EventsUnordered, Safeguards, TriggersDecisions, DeliveriesDead, EventsRejected, StateSnapshots, Audit},
		[]string{"trigger-ordered", "trigger-unordered", "trigger-safeguards"},
	},
	{"provision", []string{EventsOrdered, EventsUnordered}, []string{EventsOrdered, EventsUnordered, ProvisionExecutions, Audit}, []string{"provision"}},
	{"config", nil, []string{Audit}, nil},
	{"producer", nil, []string{EventsInbound}, nil},
	{"consumer", []string{EventsOrdered, EventsUnordered, Safeguards, DeliveriesAttempts, DeliveriesDead}, nil, nil},
	{
		// tail, rejected, option verify, deliveries export, verify-receipts; rejected resend, state accept-gap.
		"operator",
		[]string{EventsInbound, EventsOrdered, EventsUnordered, EventsRejected, Safeguards, DeliveriesAttempts, Audit},
		[]string{EventsInbound, EventsOrdered, EventsUnordered, Safeguards, Audit},
		nil,
	},
}

// withSenders is access with the services of channels: trigger writes what they read.
func withSenders(senders []Sender) []allowed {
	var all []allowed
	for _, a := range access {
		if a.who == "trigger" {
			a.writes = slices.Clone(a.writes)
			for _, s := range senders {
				a.writes = slices.Insert(a.writes, slices.Index(a.writes, TriggersDecisions), s.Topic)
			}
		}
		if a.who == "producer" {
			for _, s := range senders {
				all = append(all, allowed{
					s.Service,
					[]string{s.Topic, DeliveriesAttempts, StateSnapshots},
					[]string{DeliveriesAttempts, DeliveriesDead, EventsOrdered, EventsRejected, StateSnapshots, Audit},
					[]string{s.Service},
				})
			}
		}
		all = append(all, a)
	}
	return all
}

// Permissions are all that Tollgate's processes, producers and consumers have to be allowed under a
// prefix.
func Permissions(prefix string, senders ...Sender) []Permission {
	var all []Permission
	for _, a := range withSenders(senders) {
		topics := slices.Concat(a.reads, a.writes)
		for i, topic := range topics {
			operation := OperationRead
			if i >= len(a.reads) {
				operation = OperationWrite
			}
			all = append(all, Permission{a.who, operation, ResourceTopic, prefix + "." + topic})
		}
		for _, group := range a.groups {
			all = append(all, Permission{a.who, OperationRead, ResourceGroup, prefix + "." + group})
		}
	}
	for _, s := range senders { // how long deliveries and attempts are kept
		for _, topic := range []string{s.Topic, DeliveriesAttempts} {
			all = append(all, Permission{s.Service, OperationDescribeConfigs, ResourceTopic, prefix + "." + topic})
		}
	}
	for _, topic := range NamingRevisions { // how long versions of the configuration are kept
		all = append(all, Permission{"config", OperationDescribeConfigs, ResourceTopic, prefix + "." + topic})
	}
	// topics create, topics verify, check.
	for _, operation := range []string{OperationCreate, OperationDescribe, OperationDescribeConfigs} {
		all = append(all, Permission{"operator", operation, ResourceTopic, prefix + ".*"})
	}
	return all
}

// PublishPermissions are what has to be allowed on topics that belong to tenants, whose names begin with one of these: trigger
// publishes to them, and config asks whether one exists.
func PublishPermissions(prefixes ...string) []Permission {
	var all []Permission
	for _, p := range prefixes {
		all = append(all, Permission{"config", OperationDescribe, ResourceTopic, p + "*"}, Permission{"trigger", OperationWrite, ResourceTopic, p + "*"})
	}
	return all
}
