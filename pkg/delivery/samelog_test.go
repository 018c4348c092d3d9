package delivery

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollgate/tollgate/pkg/stream"
)

func (w *world) incident() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.health["incident"]; err != nil {
		return err.Error()
	}
	return ""
}

func (w *world) records(ds ...*Delivery) []stream.Record {
	var recs []stream.Record
	for _, d := range ds {
		d.Tenant, d.PlannedAt = "acme", time.Now()
		rec, err := d.Record(topicDeliveries)
		if err != nil {
			w.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return recs
}

func TestATopicMadeAnewIsAnIncidentUntilAPersonAcceptsIt(t *testing.T) {
	for _, test := range []struct {
		name string
		anew func(w *world)
		want string // of the bodies received after
	}{
		{"deliveries, longer than before", func(w *world) {
			w.broker.replace(topicDeliveries, w.records(order("e1", "a", "new0"), order("e1", "a", "new1"), order("e1", "a", "new2"), order("e1", "a", "new3"))...)
		}, "new0 new1 new2 new3"},
		{"deliveries, as long as before", func(w *world) {
			w.broker.replace(topicDeliveries, w.records(order("e1", "a", "new0"), order("e1", "a", "new1"), order("e1", "a", "new2"))...)
		}, "new0 new1 new2"},
		{"deliveries, shorter than before", func(w *world) {
			w.broker.replace(topicDeliveries, w.records(order("e1", "a", "new0"))...)
		}, "new0"},
		{"attempts, longer than before", func(w *world) {
			var recs []stream.Record
			for range 10 {
				recs = append(recs, stream.Record{Topic: topicAttempts, Time: time.Now()})
			}
			w.broker.replace(topicAttempts, recs...)
		}, "waits"},
		{"attempts, shorter than before", func(w *world) { w.broker.replace(topicAttempts) }, "waits"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "e1")
				w.answers(func(d *Delivery, _ int) (Result, time.Duration) {
					if d.Event.ID == "waits" {
						return Failed, time.Millisecond
					}
					return Accepted, time.Millisecond
				})
				r := w.start()
				w.plan(order("e1", "a", "old"))
				w.plan(order("e1", "b", "old"))
				w.plan(order("e1", "c", "waits"))
				time.Sleep(2 * time.Second)
				r.drain()
				test.anew(w)
				before := len(w.received())
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
				r = w.start()
				time.Sleep(time.Minute)
				if n := len(w.received()); n != before {
					t.Errorf("%d sent out of another log", n-before)
				}
				if !strings.Contains(w.incident(), "LOG_RECREATED") {
					t.Errorf("incident %q", w.incident())
				}
				r.kill()
				r = w.start(func(c *Channel) { c.AcceptLostDeliveries = true })
				time.Sleep(time.Minute)
				r.drain()
				r = w.start() // and no longer needs it
				time.Sleep(time.Minute)
				r.drain()
				var got []string
				names := map[int64]string{}
				for _, rec := range w.broker.all(topicDeliveries) {
					d, err := Decode(rec)
					if err != nil {
						t.Fatal(err)
					}
					names[rec.Offset] = d.Event.ID
				}
				for _, rc := range w.received()[before:] {
					got = append(got, names[rc.offset])
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("received %v, want %s", got, test.want)
				}
			})
		})
	}
}

// With the store lost, attempts of the old log's offsets once settled deliveries of the new one that nobody had received.
func TestAttemptsOfAnotherLogSettleNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, "e1")
		r := w.start()
		for _, name := range []string{"old0", "old1", "old2"} {
			w.plan(order("e1", "a", name))
		}
		time.Sleep(2 * time.Second)
		r.drain()
		w.store.Restore(empty())
		w.broker.replace(topicDeliveries, w.records(order("e1", "a", "new0"), order("e1", "a", "new1"), order("e1", "a", "new2"))...)
		r = w.start()
		time.Sleep(time.Minute)
		if n := len(w.received()); n != 3 || !strings.Contains(w.incident(), "LOG_RECREATED") {
			t.Errorf("%d received, incident %q", n, w.incident())
		}
		r.kill()
		r = w.start(func(c *Channel) { c.AcceptLostDeliveries = true })
		time.Sleep(time.Minute)
		r.drain()
		if n := len(w.received()); n != 6 {
			t.Errorf("%d received in all, want what waits in the new log as well", n)
		}
	})
}

// A reference once sent whatever stood at its offset.
func TestAReferenceWhoseBodyIsAnothersIsNeverSent(t *testing.T) {
	for name, other := range map[string]func() *Delivery{
		"another endpoint's":                 func() *Delivery { return order("e2", "a", "one") },
		"another's of the same ordering key": func() *Delivery { return order("e1", "a", "two") },
		"of another ordering key": func() *Delivery {
			d := order("e1", "a", "one")
			d.Event.Subject = "b"
			return d
		},
		"of a replay": func() *Delivery {
			d := order("e1", "a", "one")
			d.ReplayJob = "job"
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, "e1", "e2")
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Failed, time.Millisecond })
				begin := time.Now()
				w.plan(order("e1", "a", "one"))
				last := w.plan(order("e2", "z", "last"))
				r := w.start()
				time.Sleep(2 * time.Second)
				r.drain()
				old := w.broker.all(topicDeliveries)
				d := other()
				if d.Event.ID == "one" {
					d.ID = NewID(begin, "acme", "test", "s", "one", "n", "a", "", "e1")
				}
				w.broker.replace(topicDeliveries, append(w.records(d), old[1])...)
				before := len(w.received())
				w.answers(func(*Delivery, int) (Result, time.Duration) { return Accepted, time.Millisecond })
				r = w.start()
				time.Sleep(time.Minute)
				ill := w.ill()
				r.drain()
				got := w.received()[before:]
				if len(got) != 1 || got[0].id != last.ID {
					t.Errorf("received %+v, want what is as it was", got)
				}
				if !strings.Contains(w.incident(), "DELIVERY_MISMATCH at 0") || !strings.Contains(ill, "1 deliveries are not those that were kept") {
					t.Errorf("incident %q; health %s", w.incident(), ill)
				}
			})
		})
	}
}
