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
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/state"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	optionsv1 "github.com/tollgate/tollgate/proto/gen/tollgate/options/v1"
	"github.com/tollgate/tollgate/services/safeguard/account"
	"github.com/tollgate/tollgate/services/safeguard/safeguardtest"
)

// explains asks for an explanation, a line for each step and one for its summary.
func (r *replica) explains(number string, edits ...func(*optionsv1.ExplainRequest)) (lines []string) {
	r.f.Helper()
	req := &optionsv1.ExplainRequest{Name: named(number)}
	for _, edit := range edits {
		edit(req)
	}
	s, err := r.audit.Explain(r.f.ctx, req)
	if err != nil {
		r.f.Fatal(err)
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			r.f.Fatal(err)
		}
		if step := m.GetStep(); step != nil {
			lines = append(lines, strings.Join(slices.Concat([]string{
				step.GetCause().GetEvent().GetType(), account.OptionOf(step.GetOption()).String(), safeguardtest.Amount(step.GetChange()), safeguardtest.Amount(step.GetSpent()),
			}, step.GetOutcomes()), " "))
		}
		if sum := m.GetSummary(); sum != nil {
			lines = append(lines, fmt.Sprintf("partial %v, equal %v", sum.GetPartial(), sum.GetEqual()))
		}
	}
}

// A number that is not activated, and that usage is held for, does not exist for Explain and Watch either.
func TestReads_OfANumberThatIsPendingActivation(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Full())
		replicas := []*replica{f.start(), f.start()}
		f.configured()
		const number = "447700900777"
		f.publish(&event.Event{ID: "held", Source: "test", Tenant: "patient", Subject: number, Type: "usage.charged", Data: &eventv1.UsageCharged{
			Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: safeguardtest.Units("1"),
		}})
		f.until("the usage to be held", func() bool {
			key := "patient/" + number
			p := state.Partition{Domain: account.Domain, Number: stream.PartitionOf([]byte(key), 4), Count: 4}
			_, values, err := f.store.Peek(f.ctx, p, []string{"r:" + key})
			if err != nil || values[0] == nil {
				return false
			}
			body, err := fold.BodyOf(values[0])
			if err != nil {
				f.Fatal(err)
			}
			sub, err := account.Decode(body)
			if err != nil {
				f.Fatal(err)
			}
			return sub.Pending()
		})
		name := "tenants/patient/subscribers/" + number
		for i, r := range replicas {
			for what, ask := range map[string]func() error{
				"explain": func() error {
					s, err := r.audit.Explain(f.ctx, &optionsv1.ExplainRequest{Name: name})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				},
				"explain all periods": func() error {
					s, err := r.audit.Explain(f.ctx, &optionsv1.ExplainRequest{Name: name, AllPeriods: true})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				},
				"watch": func() error {
					s, err := r.inventory.Watch(f.ctx, &optionsv1.WatchRequest{Name: name})
					if err == nil {
						_, err = s.Recv()
					}
					return err
				},
			} {
				// The partition may move yet to the replica that came second.
				_, err := answeredBy(f, func() (struct{}, error) { return struct{}{}, ask() })
				if fault.KindOf(err) != fault.NotFound || fault.ReasonOf(err) != account.ReasonNotFound {
					f.Errorf("%s at replica %d: %v", what, i, err)
				}
			}
		}
	})
}

func TestExplain_OfThePresentSubscriber(t *testing.T) {
	t.Parallel()
	onServers(t, func(f *fixture) {
		f.createTopics()
		f.configure(safeguardtest.Gold())
		r := f.start()
		f.configured()
		n := 0
		began := time.Now().UTC().Add(-time.Minute).Truncate(time.Millisecond)
		publish := func(eventType string, data proto.Message) *event.Event {
			n++
			return &event.Event{
				ID: fmt.Sprintf("e-%d", n), Source: "crm", Type: eventType, Tenant: "acme", Subject: subject(0), Data: data,
				Time: began.Add(time.Duration(n) * time.Second),
			}
		}
		uses := func(amount string) *event.Event {
			return publish("usage.charged", &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: safeguardtest.Units(amount)})
		}
		activated := func() *event.Event {
			return publish("subscriber.activated", &eventv1.SubscriberActivated{ClassOfService: "gold"})
		}
		// reached waits until a number's limit is reached for every caller: its outcomes are a commit ahead.
		reached := func(number string) {
			f.until(number+" to be past its limit", func() bool {
				m, err := r.inventory.GetDataSafeguard(f.ctx, &optionsv1.GetDataSafeguardRequest{Name: nameOf(number)})
				return err == nil && m.GetReached()
			})
		}
		f.publish(activated(), uses("30"), publish("subscriber.terminated", &eventv1.SubscriberTerminated{}), activated(), uses("51"))
		reached(subject(0))
		want := []string{"subscriber.activated data 0 0 activated", "usage.charged data 51 51 alert reached overshoot", "partial false, equal true"}
		if diff := cmp.Diff(want, r.explains(subject(0))); diff != "" {
			t.Errorf("of the number's second owner:\n%s", diff)
		}

		f.publish(publish("subscriber.msisdn_changed", &eventv1.SubscriberMsisdnChanged{NewMsisdn: subject(1)}))
		reached(subject(1))
		want = []string{"system.transfer data 51 51 reached", "partial true, equal true"}
		if diff := cmp.Diff(want, r.explains(subject(1))); diff != "" {
			t.Errorf("under its new number:\n%s", diff)
		}
	})
}
