package consumers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/pause"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

const (
	subjects = 200
	// perSecond is how many events are published.
	perSecond = 300
)

// published are the events that Kafka has acknowledged.
type published struct {
	fleet  *fleet.Fleet
	tenant string
	random *rand.Rand

	mu sync.Mutex
	// last is the number of the last event of each subject: they are numbered from 1.
	last [subjects]int
	sum  int
}

func newPublished(f *fleet.Fleet, tenant string, seed uint64) *published {
	return &published{fleet: f, tenant: tenant, random: rand.New(rand.NewPCG(seed, 3))}
}

// publish goes on until stretch ends. An event of a subject follows once the one before is acknowledged; a lost answer may
// leave it in the log twice.
func (p *published) publish(ctx, stretch context.Context) error {
	producer := p.fleet.Client.NewProducer()
	topic := p.fleet.Client.Topic(stream.EventsOrdered)
	for pause.For(stretch, 50*time.Millisecond) {
		next := p.last
		var batch []stream.Record
		for range perSecond / 20 {
			subject := p.random.IntN(subjects)
			next[subject]++
			r, err := numbered(subject, next[subject], p.tenant).Record(topic)
			if err != nil {
				return err
			}
			batch = append(batch, r)
			if p.random.IntN(4) == 0 { // of a tenant that nobody reads
				r, err := numbered(subject, next[subject], "other").Record(topic)
				if err != nil {
					return err
				}
				batch = append(batch, r)
			}
		}
		if err := producer.Produce(ctx, batch...); err != nil { // it tries until ctx ends
			return err
		}
		p.mu.Lock()
		for i := range next {
			p.sum += next[i] - p.last[i]
		}
		p.last = next
		p.mu.Unlock()
	}
	closing, end := context.WithTimeout(ctx, time.Minute)
	defer end()
	return producer.Close(closing)
}

func numbered(subject, number int, of string) *event.Event {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return &event.Event{
		ID: fmt.Sprintf("%d-%d", subject, number), Source: "crm", Type: "client.updated", Tenant: of, Subject: fmt.Sprintf("client/%d", subject),
		Time: now, ReceivedAt: now, Data: &eventv1.ClientChanged{Client: &eventv1.Account{Id: strconv.Itoa(subject)}},
	}
}

// parsed are subject and number of an id.
func parsed(id string) (subject, number int, err error) {
	a, b, _ := strings.Cut(id, "-")
	subject, err = strconv.Atoi(a)
	if err == nil {
		number, err = strconv.Atoi(b)
	}
	if err != nil || subject < 0 || subject >= subjects {
		return 0, 0, fmt.Errorf("%q is no id of ours", id)
	}
	return subject, number, nil
}

func (p *published) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sum
}

func (p *published) numbers() [subjects]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// read is how often the log has each event, and how many events were given up.
func (p *published) read(ctx context.Context) (inLog map[string]int, givenUp int, err error) {
	inLog = map[string]int{}
	err = every(ctx, p.fleet, stream.EventsOrdered, func(r stream.Record) {
		e, decodeErr := event.Decode(r.Value)
		if decodeErr == nil && e.Tenant == p.tenant && !event.IsControl(e.Type) {
			inLog[e.ID]++
		}
	})
	if err != nil {
		return nil, 0, err
	}
	return inLog, givenUp, every(ctx, p.fleet, stream.EventsRejected, func(r stream.Record) {
		for _, h := range r.Headers {
			if h.Key == event.HeaderReason && string(h.Value) == "GIVEN_UP" {
				givenUp++
			}
		}
	})
}

// every hands on all records of a topic.
func every(ctx context.Context, f *fleet.Fleet, topic string, handle func(stream.Record)) error {
	for partition := range f.Partitions() {
		for t := f.Follow(topic, int32(partition)); ; {
			records, err := t.Read(ctx)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				break
			}
			for _, r := range records {
				handle(r)
			}
		}
	}
	return nil
}
