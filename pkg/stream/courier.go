package stream

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// unknownBroker asks whoever leads a request's first partition.
const unknownBroker int32 = -1

const (
	// inFlight is how many requests one producer has on their way to a broker:
	// what is handed in meanwhile goes together.
	inFlight = 2
	// requestBytes bounds what goes together.
	requestBytes = 4 << 20
	// togetherFor is how long a broker may hold a request of several partitions
	// for the slowest one's replicas; that one is then asked for alone.
	togetherFor = 2 * time.Second
)

// parcel is one partition's batch in a request, and what the broker said.
type parcel struct {
	topic     string
	partition int32
	set       []byte

	done   chan struct{}
	base   int64
	guilty []int32 // records that the broker names
	err    error
}

// courier takes what the lanes of one broker have ready in as few requests as
// there can be without waiting.
type courier struct {
	p      *Producer
	broker int32

	mu      sync.Mutex
	waiting []*parcel
	flights int
}

func (p *Producer) courier(broker int32) *courier {
	p.mu.RLock()
	c := p.couriers[broker]
	p.mu.RUnlock()
	if c != nil {
		return c
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c = p.couriers[broker]; c == nil {
		c = &courier{p: p, broker: broker}
		p.couriers[broker] = c
	}
	return c
}

// send returns once the broker has answered, or can't.
func (c *courier) send(ctx context.Context, x *parcel) {
	c.mu.Lock()
	c.waiting = append(c.waiting, x)
	idle := c.flights < inFlight
	if idle {
		c.flights++
	}
	c.mu.Unlock()
	if idle {
		go c.run(ctx)
	}
	<-x.done
}

func (c *courier) run(ctx context.Context) {
	for {
		runtime.Gosched() // lanes that were just woken may have something, too
		c.mu.Lock()
		n, bytes := 0, 0
		for n < len(c.waiting) && (n == 0 || bytes+len(c.waiting[n].set) <= requestBytes) {
			bytes += len(c.waiting[n].set)
			n++
		}
		if n == 0 {
			c.flights--
			c.mu.Unlock()
			return
		}
		load := c.waiting[:n:n]
		c.waiting = c.waiting[n:]
		if len(c.waiting) == 0 {
			c.waiting = nil
		}
		c.mu.Unlock()
		slices.SortFunc(load, func(a, b *parcel) int { return compareTopics(a.topic, b.topic) })
		err := c.p.c.produceParcels(ctx, c.broker, load)
		for _, x := range load {
			if err != nil {
				x.err = err
			}
			close(x.done)
		}
	}
}

func compareTopics(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// produceParcels sends one request; each parcel gets its own result, the error
// is about the request.
func (c *Client) produceParcels(ctx context.Context, broker int32, load []*parcel) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	wait := c.cfg.CallTimeout
	if len(load) > 1 {
		wait = min(wait, togetherFor)
	}
	got, err := c.exchange(ctx, &exchange{
		broker: broker, key: protocol.Produce, version: produceVersion, topic: load[0].topic, partition: load[0].partition,
		body: func(b []byte) []byte { return appendProduce(b, load, wait) },
	})
	if err != nil {
		return err
	}
	for _, x := range load {
		x.err = errNotNamed
	}
	return readProduce(got, load)
}

func appendProduce(b []byte, load []*parcel, wait time.Duration) []byte {
	be := binary.BigEndian
	b = be.AppendUint16(b, ^uint16(0)) // no transaction
	b = be.AppendUint16(b, ^uint16(0)) // all in-sync replicas acknowledge
	b = be.AppendUint32(b, uint32(wait.Milliseconds()))
	return byTopic(b, load, func(x **parcel) string { return (*x).topic }, func(b []byte, x **parcel) []byte {
		b = be.AppendUint32(b, uint32((*x).partition))
		b = be.AppendUint32(b, uint32(len((*x).set)))
		return append(b, (*x).set...)
	})
}

func readProduce(body []byte, load []*parcel) error {
	r := wireReader{b: body}
	for range r.count() {
		topic := string(r.string())
		for range r.count() {
			partition := r.int32()
			code := r.int16()
			base := r.int64()
			r.int64() // append time
			r.int64() // log start
			var guilty []int32
			for range r.count() {
				guilty = append(guilty, r.int32())
				r.string() // why
			}
			message := r.string()
			i := slices.IndexFunc(load, func(x *parcel) bool { return x.partition == partition && x.topic == topic })
			if r.bad || i < 0 {
				continue
			}
			load[i].base, load[i].guilty, load[i].err = base, guilty, errorOf(code, message)
		}
	}
	if r.bad {
		return fmt.Errorf("read answer to a produce: %w", errWire)
	}
	return nil
}
