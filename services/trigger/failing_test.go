package trigger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

func custom(t *testing.T, id string, fields map[string]any) *event.Event {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return &event.Event{
		ID: id, Source: "crm", Type: "client.custom_fields_updated", Tenant: "acme", Subject: "client/1", Time: epoch,
		Data: &eventv1.ClientCustomFieldsUpdated{Id: "1", CustomFields: s},
	}
}

// A value of another kind than the filter compares is no match, a Decision and a counter; others of the event go on.
func TestFilter_ValueOfAnotherKindIsADecision(t *testing.T) {
	p := newPartition(t, "events.ordered")
	var err error
	if p.metrics, err = newMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	p.configure(snapshot(1, func(s *configv1.Snapshot) {
		s.Notifications = []*configv1.Notification{
			rule("score", []string{"client.custom_fields_updated"}, "has(data.custom_fields.score) && data.custom_fields.score > 3.0", action("notify", "crm")),
			rule("z", []string{"client.custom_fields_updated"}, "", action("notify", "app")),
		}
	}))
	p.append(
		custom(t, "1", map[string]any{"score": 4}), custom(t, "2", map[string]any{"score": "many"}), custom(t, "3", map[string]any{"score": []any{}}),
		custom(t, "4", map[string]any{}), custom(t, "5", map[string]any{"score": nil}), custom(t, "6", map[string]any{"score": 5}),
	)
	p.run()
	want := []string{"1 score/notify crm 1", "1 z/notify app 1", "2 z/notify app 2", "3 z/notify app 3", "4 z/notify app 4", "5 z/notify app 5", "6 score/notify crm 2", "6 z/notify app 6"}
	if got := places(p.deliveries()); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("planned %v, want %v", got, want)
	}
	var failed []string
	for _, d := range p.decisions() {
		if d.GetReason() != triggerv1.Decision_REASON_FILTER_ERROR || d.GetNotification() != "score" || !strings.Contains(d.GetDetail(), "evaluate filter: no such overload") {
			t.Errorf("decided %v", d)
		}
		failed = append(failed, d.GetEvent().GetId())
	}
	if fmt.Sprint(failed) != "[2 3 5]" {
		t.Errorf("failed on %v", failed)
	}
	if n := testutil.ToFloat64(p.metrics.decisions.WithLabelValues("filter_error")); n != 3 {
		t.Errorf("counted %v", n)
	}
}

// A notification that fails on ten events within an hour is an event, once in that hour.
func TestFailing_IsAnEventOnceAnHour(t *testing.T) {
	now := epoch
	f := newFailing(plain, nil, func() time.Time { return now }, zap.NewNop())
	broken := func(kind string, n int) {
		p := newPartition(t, "events.ordered")
		p.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{rule("breaks", []string{kind}, "1 / int(size(id) - size(id)) > 0", action("notify", "crm"))}
		}))
		for i := range n {
			e := usage(fmt.Sprint(i), "44", 1, epoch)
			if kind == typeFailing {
				e.Type, e.Data = kind, &eventv1.NotificationFailing{Notification: "tenants/acme/notifications/x"}
			}
			p.append(e)
		}
		p.run()
		f.observe(p.out)
	}
	ids := func() (ids []string) {
		for len(f.waiting) > 0 {
			r := <-f.waiting
			e, err := event.Decode(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := e.Data.(*eventv1.NotificationFailing)
			if r.Topic != stream.EventsUnordered || e.Subject != "notification/breaks" || data.GetNotification() != "tenants/acme/notifications/breaks" || data.GetVersion() != 1 ||
				data.GetCount() != 10 || !strings.HasPrefix(data.GetReason(), "filter_error: evaluate filter: division by zero") {
				t.Errorf("event %v on %s", e, r.Topic)
			}
			ids = append(ids, e.ID)
		}
		return ids
	}
	broken("usage.charged", failsAfter-1)
	if got := ids(); got != nil {
		t.Errorf("published %v before it goes on", got)
	}
	broken("usage.charged", 3*failsAfter)
	first := ids()
	broken(typeFailing, 2*failsAfter) // its own failures would go on for ever
	now = now.Add(time.Hour)
	broken("usage.charged", failsAfter-1)
	if got := ids(); len(first) != 1 || got != nil {
		t.Errorf("published %v, then %v", first, got)
	}
	broken("usage.charged", 1)
	again := ids()
	// Another replica publishes the same.
	f = newFailing(plain, nil, func() time.Time { return now.Add(time.Minute) }, zap.NewNop())
	broken("usage.charged", failsAfter)
	if other := ids(); len(again) != 1 || again[0] == first[0] || fmt.Sprint(other) != fmt.Sprint(again) {
		t.Errorf("published %v, %v, and by another replica %v", first, again, other)
	}
}

// What Kafka does not take now is tried again, what it never takes is not, and those behind it follow.
func TestFailing_IsPublishedOnceKafkaTakesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := []error{errors.New("away"), nil, stream.ErrTooLarge, nil}
		var tried []string
		publish := func(_ context.Context, records ...stream.Record) error {
			tried = append(tried, string(records[0].Key))
			return faults[len(tried)-1]
		}
		f := newFailing(plain, publish, time.Now, zap.NewNop())
		for _, key := range []string{"a", "b", "c"} {
			f.waiting <- stream.Record{Key: []byte(key)}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(2 * publishAgain)
		synctest.Wait()
		if fmt.Sprint(tried) != "[a a b c]" {
			t.Errorf("tried %v", tried)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// From the failing filter to the owner's e-mail, through the running service.
func TestService_OwnersHearOfANotificationThatGoesOnFailing(t *testing.T) {
	onServers(t, func(f *fixture) {
		f.start()
		f.configure(mailing(&configv1.EmailRecipients{Addresses: []string{"x@example.com"}}, func(s *configv1.Snapshot, _ *configv1.Action) {
			s.Notifications = []*configv1.Notification{rule("breaks", []string{"usage.charged"}, "10 / data.net.units > 0", action("notify", "crm"))}
		}))
		for i := range failsAfter {
			f.publish(stream.EventsOrdered, usage(fmt.Sprint(i), fmt.Sprint(44+i), 0, epoch))
		}
		records := f.await("deliveries.email", func(all []stream.Record) bool { return len(all) > 0 })
		if body := string(records[0].Value); !strings.Contains(body, "tenants/acme/notifications/breaks fails") || !strings.Contains(body, "division by zero") || !strings.Contains(body, "ana@example.com") {
			t.Errorf("mailed %q", body)
		}
	})
}
