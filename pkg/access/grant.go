package access

import (
	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// Grants are the events that a caller may read from the event queue: operations by entity. The zero Grants allow nothing.
type Grants struct {
	all  bool
	sets map[string]operations
}

// operations is a set of event.Operation.
type operations uint8

// AllGrants allow every entity and operation.
func AllGrants() Grants { return Grants{all: true} }

// GrantsOf reads the grants of a key. Operations that are not known give nothing.
func GrantsOf(all []*configv1.QueueGrant) Grants {
	g := Grants{sets: make(map[string]operations, len(all))}
	for _, one := range all {
		for _, o := range one.GetOperations() {
			if op, known := OperationOf(o); known {
				g.sets[one.GetEntity()] |= 1 << op
			}
		}
	}
	return g
}

// OperationOf is the operation of the catalog; false of one that is unspecified or not known.
func OperationOf(o configv1.QueueOperation) (op event.Operation, known bool) {
	switch o {
	case configv1.QueueOperation_QUEUE_OPERATION_CREATE:
		return event.Create, true
	case configv1.QueueOperation_QUEUE_OPERATION_UPDATE:
		return event.Update, true
	case configv1.QueueOperation_QUEUE_OPERATION_DELETE:
		return event.Delete, true
	case configv1.QueueOperation_QUEUE_OPERATION_OTHER:
		return event.Other, true
	}
	return 0, false
}

// Allows reports whether events of an entity and operation may be read.
func (g Grants) Allows(entity string, op event.Operation) bool {
	return g.all || op < 8 && g.sets[entity]&(1<<op) != 0
}

// Covers reports that g allows everything that other allows.
func (g Grants) Covers(other Grants) bool {
	if g.all || other.all {
		return g.all
	}
	for entity, set := range other.sets {
		if set&^g.sets[entity] != 0 {
			return false
		}
	}
	return true
}
