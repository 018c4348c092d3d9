package event

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event/schema"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Operation is what a type's event does to its entity; access is granted by it.
type Operation uint8

// Every type has exactly one operation.
const (
	Other Operation = iota
	Create
	Update
	Delete
)

// String is the operation in lower case.
func (o Operation) String() string {
	return [...]string{Other: "other", Create: "create", Update: "update", Delete: "delete"}[o]
}

// Queue is whether a type's events keep the order of their subject.
type Queue uint8

const (
	// Ordered events are keyed by tenant and subject, which they must have, and are on events.ordered.
	Ordered Queue = iota
	// Unordered events are spread over events.unordered.
	Unordered
)

// String is the queue in lower case.
func (q Queue) String() string {
	return [...]string{Ordered: "ordered", Unordered: "unordered"}[q]
}

// Type is one entry of the catalog.
type Type struct {
	// Name is dotted, such as "usage.charged".
	Name string
	// Entity is what its events are about, the first word of the name.
	Entity    string
	Operation Operation
	Queue     Queue
	// Subscriber: the subject is the MSISDN of a subscriber.
	Subscriber bool
	// Reserved: only Tollgate itself publishes it.
	Reserved bool
	// Data is an empty message of the type's data; it must not be changed.
	Data proto.Message
	// Schema is what a tenant declares of a type of its own; nil of built-in types.
	Schema *schema.Schema
}

// Control records are in the log between events; their owners produce them and consumers skip them.
const (
	TypeRevision = "system.revision"
	TypeTick     = "system.tick"
	TypeGap      = "system.gap"
	// TypeTransfer, TypeTransferSettled and TypeForward have the subject they are for.
	TypeTransfer        = "system.transfer"
	TypeTransferSettled = "system.transfer_settled"
	TypeForward         = "system.forward"
)

// IsControl reports that a type's records are no events: consumers skip them.
func IsControl(name string) bool {
	return strings.HasPrefix(name, "system.") || IsCommand(name)
}

// IsCommand reports that a type's records are calls: their owner folds them and answers the caller.
func IsCommand(name string) bool { return strings.HasPrefix(name, commandPrefix) }

const commandPrefix = "command."

// IsReserved reports that only Tollgate itself publishes this type: control records, and types that are reserved in the
// catalog.
func IsReserved(name string) bool {
	t := byName[name]
	return IsControl(name) || t != nil && t.Reserved
}

// isReservedSource reports that only Tollgate itself publishes under this source.
func isReservedSource(source string) bool {
	first, _, _ := strings.Cut(source, "/")
	return strings.EqualFold(first, "tollgate")
}

// Lookup finds a built-in type by its name.
func Lookup(name string) (Type, bool) {
	t, ok := byName[name]
	if !ok {
		return Type{}, false
	}
	return *t, true
}

// Types are the built-in types in the order of their names; control types are none.
func Types() []Type { return slices.Clone(catalog) }

var (
	catalog = sorted(builtIn())
	byName  = func() map[string]*Type {
		m := make(map[string]*Type, len(catalog))
		for i := range catalog {
			m[catalog[i].Name] = &catalog[i]
		}
		return m
	}()
)

func sorted(types []Type) []Type {
	slices.SortFunc(types, func(a, b Type) int { return strings.Compare(a.Name, b.Name) })
	return types
}

// builtIn is the catalog that every installation has.
func builtIn() []Type {
	var types []Type
	// names are verbs behind the entity; "+" is create, "-" delete, "=" other, none update.
	add := func(data proto.Message, entity string, like Type, names ...string) {
		for _, n := range names {
			t := like
			t.Entity, t.Operation, t.Data = entity, Update, data
			switch n[0] {
			case '+':
				t.Operation, n = Create, n[1:]
			case '-':
				t.Operation, n = Delete, n[1:]
			case '=':
				t.Operation, n = Other, n[1:]
			}
			t.Name = entity + "." + n
			types = append(types, t)
		}
	}
	var (
		ordered             = Type{Queue: Ordered}
		unordered           = Type{Queue: Unordered}
		ofSubscriber        = Type{Queue: Ordered, Subscriber: true}
		outcome             = Type{Queue: Ordered, Subscriber: true, Reserved: true}
		operations          = Type{Queue: Ordered, Reserved: true}
		operationsUnordered = Type{Queue: Unordered, Reserved: true}
	)
	add(&eventv1.ClientChanged{}, "client", ordered, "+created", "updated", "-deleted", "archived")
	add(&eventv1.ClientCustomFieldsUpdated{}, "client", ordered, "custom_fields_updated")
	add(&eventv1.ClientBalance{}, "client", ordered, "balance.depleted", "balance.restored")

	add(&eventv1.AccountChanged{}, "account", ordered, "+created", "updated", "-deleted", "cancelled")
	add(&eventv1.AccountStatusChanged{}, "account", ordered, "status_changed")
	add(&eventv1.AccountContractUnderCommit{}, "account", ordered, "=contract.under_commit")

	add(&eventv1.PackageChanged{}, "package", ordered, "+assigned", "activated", "deactivated", "renewed", "-closed",
		"-cancelled", "status_changed")
	add(&eventv1.ServiceChanged{}, "service", ordered, "state_changed", "=dormant")

	add(&eventv1.BillRunChanged{}, "billrun", ordered, "+started", "completed")
	add(&eventv1.BillRunFailed{}, "billrun", unordered, "=failed")
	add(&eventv1.DocumentChanged{}, "invoice", ordered, "+posted", "=overdue", "=delivered")
	add(&eventv1.DocumentChanged{}, "document", ordered, "+created", "balance_changed")
	add(&eventv1.DocumentChanged{}, "creditnote", ordered, "+processed")
	add(&eventv1.PaymentChanged{}, "payment", ordered, "+processed", "=failed")
	add(&eventv1.PaymentChanged{}, "refund", ordered, "+processed")

	add(&eventv1.BalanceChanged{}, "balance", ordered, "changed", "adjusted", "=first_use", "=recurrence",
		"=threshold_reached")
	add(&eventv1.UsageCharged{}, "usage", ofSubscriber, "=charged")
	add(&eventv1.BalanceChanged{}, "usage", ordered, "=threshold_exceeded")

	add(&eventv1.SubscriberActivated{}, "subscriber", ofSubscriber, "+activated")
	add(&eventv1.SubscriberTerminated{}, "subscriber", ofSubscriber, "-terminated")
	add(&eventv1.SubscriberStatusChanged{}, "subscriber", ofSubscriber, "suspended", "resumed")
	add(&eventv1.SubscriberMsisdnChanged{}, "subscriber", ofSubscriber, "msisdn_changed")
	add(&eventv1.SubscriberSimSwapped{}, "subscriber", ofSubscriber, "sim_swapped")
	add(&eventv1.SubscriberClassOfServiceChanged{}, "subscriber", ofSubscriber, "cos_changed")
	add(&eventv1.SubscriberRoamingChanged{}, "subscriber", ofSubscriber, "roaming_changed")
	add(&eventv1.Safeguard{}, "safeguard", outcome, "activated", "deactivated", "opted_out", "=alert", "=reached",
		"=released",
		"=renewed", "limit_changed", "renewal_day_changed", "=late", "=overshoot")

	add(&eventv1.SmsReceived{}, "sms", operations, "+received")
	add(&eventv1.EndpointChanged{}, "endpoint", operations, "failing", "suspended", "reactivated")
	add(&eventv1.DeliveryExhausted{}, "delivery", operations, "=exhausted")
	add(&eventv1.HookFailed{}, "hook", operationsUnordered, "=failed")
	add(&eventv1.NotificationFailing{}, "notification", operationsUnordered, "=failing")
	return types
}
