package loop

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/stream"
)

func (sim *simulation) incident() string {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	if err := sim.health["incident"]; err != nil {
		return err.Error()
	}
	return ""
}

func (sim *simulation) records(ds ...*delivery.Delivery) []stream.Record {
	var recs []stream.Record
	for _, d := range ds {
		d.Tenant, d.PlannedAt = "acme", time.Now()
		rec, err := d.Record(topicDeliveries)
		if err != nil {
			sim.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return recs
}

func TestRecreated_TopicIsIncidentUntilAccepted(t *testing.T) {
	for _, test := range []struct {
		name string
		anew func(sim *simulation)
		want string // of the bodies received after
	}{
		{"deliveries, longer than before", func(sim *simulation) {
			sim.broker.replace(topicDeliveries, sim.records(newDelivery("e1", "a", "new0"), newDelivery("e1", "a", "new1"), newDelivery("e1", "a", "new2"), newDelivery("e1", "a", "new3"))...)
		}, "new0 new1 new2 new3"},
		{"deliveries, as long as before", func(sim *simulation) {
			sim.broker.replace(topicDeliveries, sim.records(newDelivery("e1", "a", "new0"), newDelivery("e1", "a", "new1"), newDelivery("e1", "a", "new2"))...)
		}, "new0 new1 new2"},
		{"deliveries, shorter than before", func(sim *simulation) {
			sim.broker.replace(topicDeliveries, sim.records(newDelivery("e1", "a", "new0"))...)
		}, "new0"},
		{"attempts, longer than before", func(sim *simulation) {
			var recs []stream.Record
			for range 10 {
				recs = append(recs, stream.Record{Topic: topicAttempts, Time: time.Now()})
			}
			sim.broker.replace(topicAttempts, recs...)
		}, "waits"},
		{"attempts, shorter than before", func(sim *simulation) { sim.broker.replace(topicAttempts) }, "waits"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1")
				sim.answers(func(d *delivery.Delivery, _ int) (delivery.Result, time.Duration) {
					if d.Event.ID == "waits" {
						return delivery.Failed, time.Millisecond
					}
					return delivery.Accepted, time.Millisecond
				})
				r := sim.start()
				sim.plan(newDelivery("e1", "a", "old"))
				sim.plan(newDelivery("e1", "b", "old"))
				sim.plan(newDelivery("e1", "c", "waits"))
				time.Sleep(2 * time.Second)
				r.drain()
				test.anew(sim)
				before := len(sim.received())
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Accepted, time.Millisecond
				})
				r = sim.start()
				time.Sleep(time.Minute)
				if n := len(sim.received()); n != before {
					t.Errorf("%d sent out of another log", n-before)
				}
				if !strings.Contains(sim.incident(), "LOG_RECREATED") {
					t.Errorf("incident %q", sim.incident())
				}
				r.kill()
				r = sim.start(func(c *Channel) { c.AcceptLostDeliveries = true })
				time.Sleep(time.Minute)
				r.drain()
				r = sim.start() // and no longer needs it
				time.Sleep(time.Minute)
				r.drain()
				var got []string
				names := map[int64]string{}
				for _, rec := range sim.broker.all(topicDeliveries) {
					d, err := delivery.Decode(rec)
					if err != nil {
						t.Fatal(err)
					}
					names[rec.Offset] = d.Event.ID
				}
				for _, rc := range sim.received()[before:] {
					got = append(got, names[rc.offset])
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("received %v, want %s", got, test.want)
				}
			})
		})
	}
}

// With the store lost, attempts at offsets of the old log once settled deliveries of the new log that no receiver had.
func TestRecreated_AttemptsOfAnotherLogSettleNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(t, 1, "e1")
		r := sim.start()
		for _, name := range []string{"old0", "old1", "old2"} {
			sim.plan(newDelivery("e1", "a", name))
		}
		time.Sleep(2 * time.Second)
		r.drain()
		sim.store.Restore(empty())
		sim.broker.replace(topicDeliveries, sim.records(newDelivery("e1", "a", "new0"), newDelivery("e1", "a", "new1"), newDelivery("e1", "a", "new2"))...)
		r = sim.start()
		time.Sleep(time.Minute)
		if n := len(sim.received()); n != 3 || !strings.Contains(sim.incident(), "LOG_RECREATED") {
			t.Errorf("%d received, incident %q", n, sim.incident())
		}
		r.kill()
		r = sim.start(func(c *Channel) { c.AcceptLostDeliveries = true })
		time.Sleep(time.Minute)
		r.drain()
		if n := len(sim.received()); n != 6 {
			t.Errorf("%d received in all, want what waits in the new log as well", n)
		}
	})
}

// A reference once sent whatever delivery was at its offset.
func TestBodies_MismatchedBodyIsNeverSent(t *testing.T) {
	for name, other := range map[string]func() *delivery.Delivery{
		"another endpoint's":                 func() *delivery.Delivery { return newDelivery("e2", "a", "one") },
		"another's of the same ordering key": func() *delivery.Delivery { return newDelivery("e1", "a", "two") },
		"of another ordering key": func() *delivery.Delivery {
			d := newDelivery("e1", "a", "one")
			d.Event.Subject = "b"
			return d
		},
		"of a replay": func() *delivery.Delivery {
			d := newDelivery("e1", "a", "one")
			d.ReplayJob = "job"
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := newSimulation(t, 1, "e1", "e2")
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Failed, time.Millisecond
				})
				begin := time.Now()
				sim.plan(newDelivery("e1", "a", "one"))
				last := sim.plan(newDelivery("e2", "z", "last"))
				r := sim.start()
				time.Sleep(2 * time.Second)
				r.drain()
				old := sim.broker.all(topicDeliveries)
				d := other()
				if d.Event.ID == "one" {
					d.ID = delivery.NewID(begin, "acme", "test", "s", "one", "n", "a", "", "e1")
				}
				sim.broker.replace(topicDeliveries, append(sim.records(d), old[1])...)
				before := len(sim.received())
				sim.answers(func(*delivery.Delivery, int) (delivery.Result, time.Duration) {
					return delivery.Accepted, time.Millisecond
				})
				r = sim.start()
				time.Sleep(time.Minute)
				healthText := sim.healthText()
				r.drain()
				got := sim.received()[before:]
				if len(got) != 1 || got[0].id != last.ID {
					t.Errorf("received %+v, want what is as it was", got)
				}
				if !strings.Contains(sim.incident(), "DELIVERY_MISMATCH at 0") || !strings.Contains(healthText, "1 deliveries in the log differ from those in the store") {
					t.Errorf("incident %q; health %s", sim.incident(), healthText)
				}
			})
		})
	}
}
