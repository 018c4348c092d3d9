package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/soak"
)

// check knows what callers and handlers got, and compares it with the log. It knows nothing of services/provision.
type check struct {
	lost, doubled, outOfOrder int
	// examples are the first faults in words.
	examples []string

	mu sync.Mutex
	// answers are what callers got, by key; order is the keys of each object in the order of their answers.
	answers map[string]*provisionv1.DecideResponse
	order   map[int][]string
	asks    int
	repeats int
	// arrived is, by handler and event, under which ids it was asked how often; last is the highest number by handler and subject.
	arrived map[[2]string]map[string]int
	last    map[[2]string]int
	expects [subjects]int
	// log are the records of actions, by key; first are the keys of each object in the order of their first record.
	log   map[string][]record
	first map[string][]string
}

// record is one of the log.
type record struct {
	id    string
	value string
	data  proto.Message
}

func newCheck() *check {
	return &check{
		answers: map[string]*provisionv1.DecideResponse{}, order: map[int][]string{}, arrived: map[[2]string]map[string]int{}, last: map[[2]string]int{},
		log: map[string][]record{}, first: map[string][]string{},
	}
}

// count adds to a figure. It requires mu.
func (c *check) count(n *int, format string, args ...any) {
	if *n++; len(c.examples) < 20 {
		c.examples = append(c.examples, fmt.Sprintf(format, args...))
	}
}

func (c *check) wrong(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(&c.lost, format, args...)
}

// askedBefore notes a question about an action; one about a key whose caller has its answer is one too many.
func (c *check) askedBefore(handler, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks++
	if c.answers[key] != nil {
		c.count(&c.doubled, "%s is asked about %s after its caller had the answer", handler, key)
	}
}

// askedAfter notes a question about an event that arrived.
func (c *check) askedAfter(handler, id, question string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subject, number := parsed(id)
	at := [2]string{handler, id}
	if c.arrived[at] == nil {
		c.arrived[at] = map[string]int{}
		if last := c.last[[2]string{handler, subject}]; number < last {
			c.count(&c.outOfOrder, "%s is first asked about %s after number %d", handler, id, last)
		}
	} else {
		c.repeats++
	}
	if c.arrived[at][question]++; len(c.arrived[at]) == 2 && c.arrived[at][question] == 1 {
		c.count(&c.doubled, "%s is asked about %s under the ids %v", handler, id, c.arrived[at])
	}
	c.last[[2]string{handler, subject}] = max(c.last[[2]string{handler, subject}], number)
}

func parsed(id string) (subject string, number int) {
	subject, n, _ := strings.Cut(id, "-")
	number, err := strconv.Atoi(n)
	if err != nil {
		return id, -1
	}
	return subject, number
}

// answered notes an answer; another one under the same key must be the same.
func (c *check) answered(object int, key string, res *provisionv1.DecideResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	res.Repeated = false
	before := c.answers[key]
	if before == nil {
		c.answers[key] = res
		c.order[object] = append(c.order[object], key)
	} else if !proto.Equal(before, res) {
		c.count(&c.doubled, "%s is answered %v, and then %v", key, before, res)
	}
}

// published notes how many events of each subject arrived.
func (c *check) published(next [subjects]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expects = next
}

// missing is how many events a handler was not asked about yet.
func (c *check) missing() (n int) {
	c.each(func(string, string) { n++ })
	return n
}

// each calls do for what is missing.
func (c *check) each(do func(handler, id string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for subject, highest := range c.expects {
		for number := 1; number <= highest; number++ {
			for _, handler := range []string{quick, slow} {
				if id := fmt.Sprintf("%d-%d", subject, number); c.arrived[[2]string{handler, id}] == nil {
					do(handler, id)
				}
			}
		}
	}
}

// events is how many actions were answered, and how many events arrived.
func (c *check) events() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.answers)
	for _, highest := range c.expects {
		n += highest
	}
	return n
}

// String is what happened, for people.
func (c *check) String() string {
	events := c.events()
	c.mu.Lock()
	defer c.mu.Unlock()
	allowed := 0
	for _, a := range c.answers {
		if a.GetDecision() == provisionv1.Decision_DECISION_ALLOW {
			allowed++
		}
	}
	return fmt.Sprintf("%d actions answered, %d of them allowed, after %d questions; %d events arrived, %d questions about them repeated",
		len(c.answers), allowed, c.asks, events-len(c.answers), c.repeats)
}

// readLog reads all records of actions.
func (c *check) readLog(ctx context.Context, b *soak.Bed) error {
	for partition := range b.Fleet.Partitions() {
		for t := b.Fleet.Follow(stream.EventsOrdered, int32(partition)); ; {
			records, err := t.Read(ctx)
			if err != nil {
				return err
			}
			if len(records) == 0 {
				break
			}
			for _, r := range records {
				e, err := event.Decode(r.Value)
				if err != nil {
					return err
				}
				if e.Type != typeAction {
					continue
				}
				if c.log[e.Correlation] == nil {
					c.first[e.Subject] = append(c.first[e.Subject], e.Correlation)
				}
				c.log[e.Correlation] = append(c.log[e.Correlation], record{e.ID, string(r.Value), e.Data})
			}
		}
	}
	return nil
}

// compare counts what is wrong in the log.
func (c *check) compare() {
	c.each(func(handler, id string) { c.count(&c.lost, "%s was never asked about %s", handler, id) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, res := range c.answers {
		in := c.log[key]
		data, err := res.GetData().UnmarshalNew()
		switch allowed := res.GetDecision() == provisionv1.Decision_DECISION_ALLOW; {
		case err != nil:
			c.count(&c.lost, "%s: the answer's data can't be read: %v", key, err)
		case allowed && len(in) == 0:
			c.count(&c.lost, "%s is allowed, and not in the log", key)
		case !allowed && len(in) > 0:
			c.count(&c.doubled, "%s is forbidden, and in the log", key)
		case allowed && (in[0].id != res.GetEventId() || !proto.Equal(in[0].data, data)):
			c.count(&c.lost, "%s is in the log as %s with %v, answered was %v", key, in[0].id, in[0].data, res)
		}
	}
	for key, in := range c.log {
		if slices.ContainsFunc(in, func(r record) bool { return r.id != in[0].id || r.value != in[0].value }) {
			c.count(&c.doubled, "%s is in the log under two ids, or with other bytes: %s", key, ids(in))
		}
		if c.answers[key] == nil {
			c.count(&c.doubled, "%s is in the log, and was never answered", key)
		}
	}
	for object, keys := range c.order {
		wants := slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return c.log[key] == nil })
		if got := c.first["client/"+strconv.Itoa(object)]; !slices.Equal(got, wants) {
			c.count(&c.outOfOrder, "of client/%d the log has %v, answered were %v", object, got, wants)
		}
	}
}

func ids(all []record) string {
	var out []string
	for _, r := range all {
		out = append(out, r.id)
	}
	return strings.Join(out, ", ")
}
