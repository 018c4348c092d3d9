package trigger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
)

const testKey = "tg_a-key-of-a-test"

// asking runs the trigger, and asks it as it is deployed.
func (f *fixture) asking() triggerv1.RuleServiceClient {
	f.Helper()
	f.cfg.GRPC.KeyHashes = []string{rpc.HashKey(testKey)}
	env, _ := f.Run("trigger", func(ctx context.Context, env daemon.Env) error { return Run(ctx, f.cfg, env) })
	address, err := env.Listeners.Wait(f.ctx, "grpc")
	if err != nil {
		f.Fatal(err)
	}
	conn, err := rpc.Dial(address, testKey, grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = conn.Close() })
	return triggerv1.NewRuleServiceClient(conn)
}

// last is the last message of a stream.
func last[T any](stream grpc.ServerStreamingClient[T], err error) (out *T, _ error) {
	for err == nil {
		var m *T
		if m, err = stream.Recv(); err == nil {
			out = m
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return out, err
}

// tried is the result of a dry run.
func (f *fixture) tried(c triggerv1.RuleServiceClient, req *triggerv1.DryRunRequest) *triggerv1.DryRunResult {
	f.Helper()
	m, err := last(c.DryRun(f.ctx, req))
	if err != nil {
		f.Fatal(err)
	}
	if m.GetResult() == nil {
		f.Fatalf("the last message is %v", m)
	}
	return m.GetResult()
}

func draftOf(n *configv1.Notification) *triggerv1.DryRunRequest {
	return &triggerv1.DryRunRequest{Rule: &triggerv1.DryRunRequest_Notification{Notification: n}}
}

func capped(n *configv1.Notification, most int32) *configv1.Notification {
	n.Cap = &configv1.Cap{N: most, Window: durationpb.New(time.Hour)}
	return n
}

// A dry run over what was published finds as many firings as live planned, over all partitions and of one tenant alone, and
// names what it has read.
func TestDryRun_CountsWhatLivePlanned(t *testing.T) {
	onServers(t, func(f *fixture) {
		c := f.asking()
		spent := rule("spent", []string{"usage.charged"}, `data.net.units > 1`, action("notify", "crm"))
		few := capped(rule("few", []string{"usage.charged"}, ``, action("notify", "crm"), action("more", "app")), 2)
		silent := rule("silent", []string{"usage.charged"}, ``, action("notify", "crm"))
		silent.Trigger.Kind = &configv1.Trigger_Absence{Absence: &configv1.Absence{For: durationpb.New(time.Hour)}}
		f.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{spent, few}
			s.Tenants = append(s.Tenants, &configv1.Tenant{Name: "tenants/other"})
		}))
		var events []*event.Event
		for i := range 60 {
			e := usage(fmt.Sprint("u-", i), fmt.Sprint("4470000000", i%10), int64(i%4), time.Now())
			events = append(events, e)
			if i%9 == 0 {
				events = append(events, e) // a repeat
				of := *e
				of.Tenant = "other"
				events = append(events, &of, &event.Event{ID: fmt.Sprint("s-", i), Source: "crm", Type: "subscriber.suspended", Tenant: "acme", Subject: e.Subject, Time: epoch,
					Data: &eventv1.SubscriberStatusChanged{}})
			}
		}
		f.publish(stream.EventsOrdered, events...)
		live := map[string]int64{}
		for _, line := range f.deliveries(30 + 40) {
			code, _, _ := strings.Cut(strings.Fields(line)[1], "/")
			live[code]++
		}
		if live["spent"] != 30 || live["few"] != 40 {
			f.Fatalf("live planned %v", live)
		}
		r := f.tried(c, draftOf(spent))
		if r.GetFirings() != live["spent"] || r.GetDeliveries() != live["spent"] || r.GetSubjects() != 10 || len(r.GetProblems()) > 0 {
			f.Errorf("spent: %v", r)
		}
		read := r.GetRead()
		if read.GetPartitions() != 2 || read.GetPartitionsRead() != 2 || read.GetRecords() < int64(len(events)) || read.GetRecordsRead() != read.GetRecords() || read.GetEndedBy() != 0 {
			f.Errorf("read: %v", read)
		}
		days := r.GetDays()
		if n := len(days); n < 7 || n > 8 || days[n-1].GetFirings()+days[n-2].GetFirings() != 30 || days[0].GetRecords() != 0 {
			f.Errorf("days: %v", days)
		}
		samples := r.GetSamples()
		if len(samples) != 3 {
			f.Fatalf("samples: %v", samples)
		}
		for _, s := range samples {
			m := s.GetMessages()
			if len(m) != 1 || !strings.Contains(string(m[0].GetBody()), `"event":"u-`) && !strings.Contains(string(m[0].GetBody()), "u-") || strings.Contains(string(m[0].GetBody()), "4470000000") || s.GetEvent().GetSubject() == "" {
				f.Errorf("sample: %v", s)
			}
		}
		if again := f.tried(c, draftOf(spent)); !slices.EqualFunc(samples, again.GetSamples(), func(a, b *triggerv1.DryRunSample) bool { return proto.Equal(a, b) }) {
			f.Error("another dry run has other samples")
		}

		// One that is stored, by its name; held back by its cap; two actions are one firing.
		r = f.tried(c, &triggerv1.DryRunRequest{Rule: &triggerv1.DryRunRequest_Name{Name: few.GetName()}})
		if r.GetFirings() != 20 || r.GetDeliveries() != live["few"] || len(r.GetHeld()) != 1 || r.GetHeld()[0].GetReason() != triggerv1.Decision_REASON_CAP || r.GetHeld()[0].GetCount() != 40 {
			f.Errorf("few: %v", r)
		}
		// Nobody was silent yet: each subject has a timer to come.
		if r = f.tried(c, draftOf(silent)); r.GetFirings() != 0 || r.GetTimersPending() != 10 {
			f.Errorf("silent: %v", r)
		}
		// A target that does not exist is no reason not to count.
		r = f.tried(c, draftOf(rule("nowhere", []string{"usage.charged"}, `data.net.units > 1`, action("notify", "none"))))
		if r.GetFirings() != 30 || r.GetDeliveries() != 0 || len(r.GetProblems()) != 1 || !strings.Contains(r.GetProblems()[0].GetProblem(), "does not exist") {
			f.Errorf("nowhere: %v", r)
		}
	})
}

// The range is by the time of reception; states are built before it.
func TestDryRun_CountsInItsRangeOnly(t *testing.T) {
	onServers(t, func(f *fixture) {
		now := time.Now().UTC().Truncate(time.Millisecond)
		at := func(id string, ago time.Duration) *event.Event {
			e := balance(id, map[string]float64{"a": 20, "b": 5, "c": 20, "d": 5}[id])
			e.ReceivedAt = now.Add(-ago)
			return e
		}
		var records []stream.Record
		for _, e := range []*event.Event{at("a", 11*time.Hour+time.Minute), at("b", 9*time.Hour), at("c", 2*time.Hour), at("d", time.Hour)} {
			r, err := e.Record(f.client.Topic(stream.EventsOrdered))
			if err != nil {
				f.Fatal(err)
			}
			records = append(records, r)
		}
		if err := f.producer.Produce(f.ctx, records...); err != nil {
			f.Fatal(err)
		}
		c := f.asking()
		f.configure(snapshot(1, nil))
		within := func(from, to time.Duration) *triggerv1.DryRunRequest {
			req := draftOf(stateful(f.T, "below", below10))
			req.From, req.To = timestamppb.New(now.Add(-from)), timestamppb.New(now.Add(-to))
			return req
		}
		// The fall to 5 is in the range, the value before it in the tenth that leads in.
		r := f.tried(c, within(11*time.Hour, 3*time.Hour))
		if r.GetFirings() != 1 || r.GetValuesWithoutBefore() != 0 || r.GetRead().GetLeadInRecords() < 1 || r.GetRead().GetLeadIn().AsDuration() != 48*time.Minute {
			f.Errorf("with a lead-in: %v", r)
		}
		if r := f.tried(c, within(10*time.Hour, 3*time.Hour)); r.GetFirings() != 0 || r.GetValuesWithoutBefore() != 1 {
			f.Errorf("with a lead-in that is too short: %v", r)
		}
		if r := f.tried(c, within(11*time.Hour, time.Second)); r.GetFirings() != 2 {
			f.Errorf("to the end: %v", r)
		}
		// A sample has the words of its firing.
		words := within(11*time.Hour, 3*time.Hour)
		words.GetNotification().Actions[0].Parameters[0].Template = "fell {{.Core.Firing}}"
		if s := f.tried(c, words).GetSamples(); len(s) != 1 || !strings.Contains(string(s[0].GetMessages()[0].GetBody()), "fell down 10") {
			f.Errorf("samples: %v", s)
		}
	})
}

func TestRuleService_NamesEveryViolationAtOnce(t *testing.T) {
	onServers(t, func(f *fixture) {
		c := f.asking()
		f.configure(snapshot(1, nil))
		bad := rule("bad", []string{"usage.chargd"}, `data.net.unit > 1`, action("notify", "crm"))
		bad.Actions[0].Parameters[0].Template = "{{.Invoice.Number}}"
		bad.Name = "tenants/nobody/notifications/bad"
		bad.Trigger.EventTypes = append(bad.Trigger.EventTypes, "usage.charged")
		for name, err := range map[string]error{
			"dry run": func() error {
				req := draftOf(bad)
				req.From, req.To = timestamppb.New(time.Now().Add(time.Hour)), timestamppb.New(time.Now().Add(time.Minute))
				_, err := last(c.DryRun(f.ctx, req))
				return err
			}(),
			"preview": func() error {
				_, err := c.Preview(f.ctx, &triggerv1.PreviewRequest{
					Rule:  &triggerv1.PreviewRequest_Notification{Notification: bad},
					Event: &triggerv1.PreviewRequest_Position{Position: &triggerv1.EventPosition{Topic: "events.inbound", Offset: -1}},
				})
				return err
			}(),
		} {
			text := fmt.Sprint(fault.ViolationsOf(err))
			want := []string{"notification.trigger.event_types[0]", "notification.trigger.filter", "notification.actions[0].parameters[0].template", "notification.name"}
			if want = append(want, map[string][]string{"dry run": {"to: must not be in the future"}, "preview": {"position.topic"}}[name]...); fault.ReasonOf(err) != "REQUEST_INVALID" {
				f.Errorf("%s: %v", name, err)
			}
			for _, part := range want {
				if !strings.Contains(text, part) {
					f.Errorf("%s: %s is not named in %s", name, part, text)
				}
			}
		}
		missing := &triggerv1.DryRunRequest{Rule: &triggerv1.DryRunRequest_Name{Name: "tenants/acme/notifications/none"}}
		if _, err := last(c.DryRun(f.ctx, missing)); fault.ReasonOf(err) != "NOTIFICATION_NOT_FOUND" {
			f.Error(err)
		}
		large := rule("large", []string{"usage.charged"}, "", action("notify", "crm"))
		large.Description = strings.Repeat("x", 300<<10)
		if _, err := last(c.DryRun(f.ctx, draftOf(large))); fault.ReasonOf(err) != "REQUEST_INVALID" || !strings.Contains(err.Error(), "262144 bytes") {
			f.Error(err)
		}
	})
}

// What is shown of a person is masked, whatever the target may get; what is about others is not found.
func TestPreview_ShowsMessagesAndTheFiltersParts(t *testing.T) {
	onServers(t, func(f *fixture) {
		c := f.asking()
		n := rule("spent", []string{"usage.charged", "subscriber.activated"}, "", action("notify", "app"))
		n.Active = false
		n.Actions[0].Parameters[0].Template = "{{.Subscriber.Msisdn}} of {{.Core.Tenant}}"
		n.Trigger.EventTypes, n.Trigger.Filter = []string{"usage.charged"}, `data.net.units > 3 && (data.roaming || subject == "4470000001")`
		f.configure(snapshot(1, func(s *configv1.Snapshot) {
			s.Notifications = []*configv1.Notification{n}
			s.Endpoints[1].PersonalData = configv1.PersonalData_PERSONAL_DATA_INCLUDE
		}))
		named := &triggerv1.PreviewRequest_Name{Name: n.GetName()}
		p, err := c.Preview(f.ctx, &triggerv1.PreviewRequest{Rule: named})
		if err != nil {
			f.Fatal(err)
		}
		if m := p.GetMessages(); !p.GetMatches() || len(m) != 1 || m[0].GetTarget() != "tenants/acme/endpoints/app" || string(m[0].GetBody()) != `{"event":"44********23 of Acme Mobile"}` {
			f.Errorf("of a sample: %v", p)
		}
		f.publish(stream.EventsOrdered, usage("u-1", "4470000002", 2, epoch))
		at := f.find("u-1")
		p, err = c.Preview(f.ctx, &triggerv1.PreviewRequest{Rule: named, Event: &triggerv1.PreviewRequest_Position{Position: at}})
		if err != nil {
			f.Fatal(err)
		}
		var lines []string
		for _, part := range p.GetFilterParts() {
			lines = append(lines, fmt.Sprintf("%d %s = %s%s", part.GetDepth(), part.GetExpression(), part.GetValue(), part.GetError()))
		}
		want := []string{
			`0 data.net.units > 3 && (data.roaming || subject == "4470000001") = false`,
			`1 data.net.units > 3 = false`, `2 data.net.units = 2`,
			`1 data.roaming || subject == "4470000001" = true`, `2 data.roaming = true`, `2 subject == "4470000001" = false`, `3 subject = (personal)`,
		}
		if p.GetMatches() || p.GetEvent().GetSubject() != "44******02" || !slices.Equal(lines, want) {
			f.Errorf("of an event: %v\n%s", p, strings.Join(lines, "\n"))
		}
		for name, position := range map[string]*triggerv1.EventPosition{
			"beyond the end":   {Topic: stream.EventsOrdered, Partition: at.GetPartition(), Offset: 1000},
			"a control record": {Topic: stream.EventsOrdered, Partition: at.GetPartition(), Offset: 0},
		} {
			if _, err := c.Preview(f.ctx, &triggerv1.PreviewRequest{Rule: named, Event: &triggerv1.PreviewRequest_Position{Position: position}}); fault.ReasonOf(err) != "EVENT_NOT_FOUND" {
				f.Errorf("%s: %v", name, err)
			}
		}
		of := rule("spent", []string{"usage.charged"}, "", action("notify", "app"))
		of.Name, of.Actions[0].GetWebhook().Endpoint = "tenants/other/notifications/spent", "tenants/other/endpoints/app"
		f.configure(snapshot(2, func(s *configv1.Snapshot) { s.Tenants = append(s.Tenants, &configv1.Tenant{Name: "tenants/other"}) }))
		_, err = c.Preview(f.ctx, &triggerv1.PreviewRequest{Rule: &triggerv1.PreviewRequest_Notification{Notification: of}, Event: &triggerv1.PreviewRequest_Position{Position: at}})
		if fault.ReasonOf(err) != "EVENT_NOT_FOUND" {
			f.Errorf("an event of another tenant: %v", err)
		}
	})
}

// find waits for an event, and gives its place.
func (f *fixture) find(id string) (at *triggerv1.EventPosition) {
	f.Helper()
	f.await(stream.EventsOrdered, func(records []stream.Record) bool {
		for _, r := range records {
			if found, _ := r.Header(event.HeaderID); string(found) == id {
				at = &triggerv1.EventPosition{Topic: stream.EventsOrdered, Partition: r.Partition, Offset: r.Offset}
			}
		}
		return at != nil
	})
	return at
}
