package queue

import (
	"github.com/cespare/xxhash/v2"

	"github.com/tollgate/tollgate/pkg/delivery"
)

// EndpointHash stands for an endpoint before its name is read: 64 bits, so that no two of a partition share one.
func EndpointHash(name string) uint64 { return delivery.EndpointHash(name) }

// orderingKeyHash is 0 for a delivery without an ordering key.
func orderingKeyHash(d *delivery.Delivery) uint64 {
	if !d.Ordered {
		return 0
	}
	if d.Recipient != "" {
		return hashOf(d.Endpoint, "\x00", d.Event.Topic, "\x00", d.Event.Subject, "\x00", d.Recipient)
	}
	return hashOf(d.Endpoint, "\x00", d.Event.Topic, "\x00", d.Event.Subject)
}

// collapseHash is 0 for a delivery that replaces none.
func collapseHash(d *delivery.Delivery) uint64 {
	if d.Collapse == "" {
		return 0
	}
	return hashOf(d.Endpoint, "\x00", d.Collapse)
}

// IDHash is never 0, which stands for an unknown id.
func IDHash(id, job string) uint32 { return max(uint32(hashOf(id, "\x00", job)), 1) }

// hashOf is never 0.
func hashOf(parts ...string) uint64 {
	var h xxhash.Digest
	h.Reset()
	for _, s := range parts {
		_, _ = h.WriteString(s) // never fails
	}
	return max(h.Sum64(), 1)
}

// IsOf reports whether a delivery is the one of an item.
func (q *Queue) IsOf(it *Item, d *delivery.Delivery) bool {
	return it.id == IDHash(d.ID, d.ReplayJob) && q.Of(it).Hash == EndpointHash(d.Endpoint) && it.Key == orderingKeyHash(d)
}
