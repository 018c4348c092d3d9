package safeguard

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/spend"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	controlv1 "github.com/tollgate/tollgate/proto/gen/tollgate/control/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

func TestAudit_ExplainsAndVerifiesFigures(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		first, second := f.activated(safeguardtest.Full())
		f.publish(charges("first", "45")...)
		f.publish(charges("second", "6")...)
		f.outcomes(5 * crowd)
		for i := range crowd {
			second.shows(subject(i))
		}
		if _, err := second.charge(subject(3), "p-1", "5"); err != nil {
			f.Fatal(err)
		}
		want := []string{
			"subscriber.activated data 0 0 activated", "subscriber.activated overspend 0 0", "subscriber.activated payment 0 0 activated",
			"usage.charged data 45 45 alert", "usage.charged data 6 51 reached overshoot", "command.charge payment 5 5", "partial false, equal true",
		}
		if diff := cmp.Diff(want, second.explains(subject(3))); diff != "" {
			f.Error(diff)
		}

		parts, err := first.audit.GetPartitions(f.ctx, &optionsv1.GetPartitionsRequest{})
		if err != nil || parts.GetPartitions() != 4 {
			f.Fatalf("%v, %v", parts, err)
		}
		var verified int64
		for p := range parts.GetPartitions() {
			last, differences := first.verify(p)
			if verified += last.GetSubscribers(); !last.GetDone() || len(differences) > 0 {
				f.Errorf("partition %d: %v, %v", p, last, differences)
			}
		}
		if verified != crowd {
			f.Errorf("%d of %d verified", verified, crowd)
		}

		// A share is the same one each time.
		var share int64
		for p := range parts.GetPartitions() {
			last, _ := first.verify(p, 500)
			again, _ := second.verify(p, 500)
			if share += last.GetSubscribers(); last.GetSubscribers() != again.GetSubscribers() {
				f.Errorf("partition %d: %d verified, then %d", p, last.GetSubscribers(), again.GetSubscribers())
			}
		}
		if share == 0 || share == crowd {
			f.Errorf("half of %d are %d", crowd, share)
		}

		first.stop()
		second.stop()
		f.tampers(subject(3), func(s *account.Subscriber) { s.Options[spend.Data].Count.Spent += spend.Unit })
		stranger := "" // of that partition, whom no event of its log made
		for i := 0; stranger == "" || partitionOf(stranger) != partitionOf(subject(5)); i++ {
			stranger = fmt.Sprintf("4477009990%02d", i)
		}
		f.stores(stranger, f.stored(subject(5)))
		f.stores(subject(4), nil)
		third := f.start()
		want = []string{
			named(subject(3)) + " OPTION_DATA spent: stored 52 EUR, recomputed 51 EUR",
			named(subject(4)) + " OPTION_UNSPECIFIED record: stored missing, recomputed there",
			named(stranger) + " OPTION_UNSPECIFIED record: stored there, recomputed missing",
		}
		var got []string
		for p := range parts.GetPartitions() {
			f.until("the partition to be taken", func() bool {
				s, err := third.audit.Verify(f.ctx, &optionsv1.VerifyRequest{Tenant: "acme", Partition: p, PerMille: 1})
				if err == nil {
					_, err = s.Recv()
				}
				return err == nil || errors.Is(err, io.EOF)
			})
			_, differences := third.verify(p)
			for _, d := range differences {
				got = append(got, fmt.Sprint(d.GetName(), " ", d.GetOption(), " ", d.GetDifference()))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			f.Errorf("the store was changed by hand, and what differs is\n%s", diff)
		}
	})
}

// An explanation is of the present period unless all are asked for, and of one option where one is named.
func TestExplain_OfTheOptionAndPeriodsAskedFor(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		// A log that began two periods ago, whatever the day is.
		began := time.Now().UTC().AddDate(0, 0, -63).Truncate(time.Millisecond)
		for p := range int32(4) {
			r, err := (&event.Event{
				ID: fmt.Sprintf("revision-%d", p), Source: "tollgate/safeguard", Type: event.TypeRevision, Time: began, ReceivedAt: began,
				Data: &controlv1.Revision{Revision: 7, Level: fold.Level},
			}).Record(f.client.Topic(stream.EventsOrdered))
			if err != nil {
				f.Fatal(err)
			}
			r.Key, r.Partition = nil, p
			if err := f.producer.Produce(f.ctx, r); err != nil {
				f.Fatal(err)
			}
		}
		publish := func(id, kind string, after time.Duration, data proto.Message) {
			e := &event.Event{ID: id, Source: "crm", Type: kind, Tenant: "acme", Subject: subject(0), Time: began.Add(after), ReceivedAt: began.Add(after), Data: data}
			r, err := e.Record(f.client.Topic(stream.EventsOrdered))
			if err != nil {
				f.Fatal(err)
			}
			if err := f.producer.Produce(f.ctx, r); err != nil {
				f.Fatal(err)
			}
		}
		roams := func(amount string) *eventv1.UsageCharged {
			return &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: safeguardtest.Units(amount)}
		}
		publish("e-1", "subscriber.activated", time.Second, &eventv1.SubscriberActivated{ClassOfService: "gold"})
		publish("e-2", "usage.charged", 2*time.Second, roams("5"))
		r := f.start()
		f.publish(&event.Event{ID: "e-3", Source: "crm", Type: "usage.charged", Tenant: "acme", Subject: subject(0), Data: roams("7")})
		f.until("the last usage to be counted", func() bool {
			m, err := r.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(subject(0))})
			return err == nil && safeguardtest.Amount(m.GetSpent()) == "7"
		})
		ofData := func(q *optionsv1.ExplainRequest) { q.Option = eventv1.Safeguard_OPTION_DATA }
		all := func(q *optionsv1.ExplainRequest) { q.AllPeriods = true }
		now := []string{"data 0 0 renewed", "usage.charged data 7 7", "partial false, equal true"}
		if diff := cmp.Diff(now, withoutTimers(r.explains(subject(0), ofData))); diff != "" {
			f.Errorf("of the data safeguard, now:\n%s", diff)
		}
		lines := withoutTimers(r.explains(subject(0), ofData, all))
		want := []string{"subscriber.activated data 0 0 activated", "usage.charged data 5 5", "data -5 0 renewed"}
		if len(lines) < 5 || !slices.Equal(lines[:3], want) || !slices.Equal(lines[len(lines)-2:], now[1:]) {
			f.Errorf("of all periods: %q", lines)
		}
		if some := r.explains(subject(0), all); len(some) <= len(lines) {
			f.Errorf("of all options: %q", some)
		}
	})
}

// withoutTimers leaves out the empty type of what is no event.
func withoutTimers(lines []string) []string {
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	return lines
}

// verify recomputes a partition.
func (r *replica) verify(partition int32, perMille ...int32) (last *optionsv1.VerifyResponse, differences []*optionsv1.VerifiedDifference) {
	r.f.Helper()
	req := &optionsv1.VerifyRequest{Tenant: "acme", Partition: partition}
	if len(perMille) > 0 {
		req.PerMille = perMille[0]
	}
	s, err := r.audit.Verify(r.f.ctx, req)
	if err != nil {
		r.f.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return last, differences
		}
		if err != nil {
			r.f.Fatal(err)
		}
		last, differences = m, append(differences, m.GetDifferences()...)
	}
}

// tampers changes a stored record while no replica owns the partition.
func (f *fixture) tampers(number string, edit func(*account.Subscriber)) {
	f.Helper()
	value := f.stored(number)
	body, err := fold.BodyOf(value)
	if err != nil {
		f.Fatal(err)
	}
	sub, err := account.Decode(body)
	if err != nil {
		f.Fatal(err)
	}
	edit(&sub)
	header := value[:len(value)-len(body)]
	f.stores(number, sub.Encode(header[:len(header):len(header)]))
}

func (f *fixture) stored(number string) []byte {
	f.Helper()
	_, values, err := f.store.Peek(f.ctx, partitionOf(number), []string{"r:acme/" + number})
	if err != nil {
		f.Fatal(err)
	}
	return values[0]
}

// stores puts a value in the place of a record; nil: it is gone.
func (f *fixture) stores(number string, value []byte) {
	f.Helper()
	p, key := partitionOf(number), "r:acme/"+number
	w, _, err := f.store.Peek(f.ctx, p, []string{key})
	if err != nil {
		f.Fatal(err)
	}
	to, change := w, state.Commit{Deletes: []string{key}}
	if to.Serial++; value != nil {
		change = state.Commit{Puts: []state.Entry{{Key: key, Value: value}}}
	}
	if err := f.store.Commit(f.ctx, p, w, to, change); err != nil {
		f.Fatal(err)
	}
}

func partitionOf(number string) state.Partition {
	return state.Partition{Domain: account.Domain, Number: stream.PartitionOf([]byte("acme/"+number), 4), Count: 4}
}
