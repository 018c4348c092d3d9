package scenario

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	provisionv1 "github.com/tollgate/tollgate/proto/gen/tollgate/provision/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// traced are the services that make spans, and config.
var traced = []string{"config", "provision", "ingest", "safeguard", "trigger", "webhook", "email"}

// producersSpan is that under which producers of the test send.
const producersSpan = "00f067aa0ba902b7"

func traceOf(n int) string            { return fmt.Sprintf("4bf92f3577b34da6a3ce929d0e0e%04x", n) }
func traceparent(trace string) string { return "00-" + trace + "-" + producersSpan + "-01" }

// way is a span and those before it, up to what its trace came with or began at.
func way(spans []tracetest.Span, s tracetest.Span) (names []string, before string) {
	names = []string{s.Name}
	for i := 0; i < 10; i++ {
		at := slices.IndexFunc(spans, func(o tracetest.Span) bool { return o.Trace == s.Trace && o.ID == s.Parent })
		if at < 0 {
			break
		}
		s = spans[at]
		names = append(names, s.Name)
	}
	slices.Reverse(names)
	return names, s.Parent
}

// of are the spans of a trace with a name.
func of(spans []tracetest.Span, trace, name string) (found []tracetest.Span) {
	for _, s := range spans {
		if s.Trace == trace && s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

// One trace shows each stop of an event's way, in its order, whichever transport it came by: from ingest over the counting
// and the notification to the receiver's answer; and an action's, from the handlers on.
func TestTrace_ShowsTheWayFromIngestToTheReceiversAnswer(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		collector := tracetest.New(t)
		traceJourney(t, ctx, f, collector.Address, collector)
	})
}

// traceJourney sends events and an action, and compares the spans that come to the collector with the stops of each.
func traceJourney(t *testing.T, ctx context.Context, f *fleet.Fleet, exportedTo string, collector *tracetest.Collector) {
	f.Trace(exportedTo)
	in := openInboxes(t, ctx)
	requests := make(chan http.Header, 100)
	hooked := make(chan http.Header, 1)
	receiver, err := fleet.StartReceiver(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil: // the sender went away
		case r.URL.Path == "/hook":
			hooked <- r.Header
			askedOf(w, body)
		default:
			requests <- r.Header
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	members := start(t, ctx, f, traced, func() int64 {
		revision, err := f.Configure(ctx, tracedResources(receiver, in)...)
		if err != nil {
			t.Fatal(err)
		}
		return revision
	})
	p := newProducers(t, ctx, f, members["ingest"])
	activate(t, p)

	// By HTTP, gRPC and Kafka, each of its own trace and number; each passes the limit.
	p.tracedHTTP(usageOf(t, 0, "by-http"), traceparent(traceOf(0)))
	calling := metadata.AppendToOutgoingContext(ctx, "traceparent", traceparent(traceOf(1)))
	if _, err := p.grpc.Publish(calling, &ingestv1.PublishRequest{Event: usageOf(t, 1, "by-grpc")}); err != nil {
		t.Fatal(err)
	}
	p.tracedKafka(usageOf(t, 2, "by-kafka"), traceparent(traceOf(2)))
	// Not sampled: it goes its way without a span.
	p.tracedKafka(usageOf(t, 3, "unsampled"), strings.Replace(traceparent(traceOf(3)), "-01", "-00", 1))
	// An action.
	p.decide(members["provision"], traceparent(traceOf(4)))

	spans := collector.Await(t, func(spans []tracetest.Span, _ int) bool {
		for n := range 3 {
			if len(of(spans, traceOf(n), "webhook attempt")) < 2 || len(of(spans, traceOf(n), "email attempt")) < 1 {
				return false
			}
		}
		begun := slices.ContainsFunc(spans, func(s tracetest.Span) bool {
			return s.Name == "safeguard count" && s.Attributes["cloudevents.event_id"] == "activation-0"
		})
		// Each service exports by itself: what comes before may come later.
		whole := !slices.ContainsFunc(spans, func(s tracetest.Span) bool {
			_, before := way(spans, s)
			return before != producersSpan && before != ""
		})
		return begun && whole && len(of(spans, traceOf(4), "webhook attempt")) > 0
	})
	answered := map[string]bool{}
	for len(answered) < 8 { // two of each usage, the unsampled one's under one traceparent, and the action's
		select {
		case h := <-requests:
			answered[h.Get("Traceparent")] = true
		case <-ctx.Done():
			t.Fatalf("only %d requests came", len(answered))
		}
	}
	for n, transport := range []string{"http", "grpc", "kafka"} {
		checkWay(t, spans, traceOf(n), transport, answered)
	}
	checkAction(t, spans, traceOf(4), (<-hooked).Get("Traceparent"))
	checkBegun(t, spans)
	for _, s := range spans {
		if s.Trace == traceOf(3) {
			t.Errorf("an event that is not sampled has a span: %+v", s)
		}
		for n := range 4 {
			if strings.Contains(fmt.Sprint(s), msisdn(n)) {
				t.Errorf("a span shows a number: %+v", s)
			}
		}
	}
	if !answered[strings.Replace(traceparent(traceOf(3)), "-01", "-00", 1)] {
		t.Error("the receiver of an event that is not sampled does not get its traceparent as it came")
	}
}

// checkWay compares a usage's trace with the stops that it passed.
func checkWay(t *testing.T, spans []tracetest.Span, trace, transport string, answered map[string]bool) {
	t.Helper()
	ingest := of(spans, trace, "ingest")
	if len(ingest) != 1 || ingest[0].Parent != producersSpan || ingest[0].Attributes["tollgate.transport"] != transport || ingest[0].Service != "tollgate-ingest" {
		t.Errorf("%s: ingest has %+v", transport, ingest)
	}
	long := []string{"ingest", "safeguard count", "trigger evaluate"}
	short := []string{"ingest", "trigger evaluate"}
	want := map[string][][]string{
		"webhook attempt": {append(slices.Clone(short), "webhook attempt"), append(slices.Clone(long), "webhook attempt")},
		"email attempt":   {append(slices.Clone(long), "email attempt")},
	}
	for name, ways := range want {
		var got []string
		for _, s := range of(spans, trace, name) {
			names, before := way(spans, s)
			if got = append(got, fmt.Sprint(names)); before != producersSpan {
				t.Errorf("%s: the way %v begins after %q", transport, names, before)
			}
			if s.Failed || s.Kind != "SPAN_KIND_CLIENT" || s.Attributes["tollgate.attempt"] != int64(1) {
				t.Errorf("%s: %+v", transport, s)
			}
			if status := s.Attributes["http.response.status_code"]; name == "webhook attempt" && status != int64(http.StatusAccepted) {
				t.Errorf("%s: the receiver's answer is %v", transport, status)
			}
			if name == "webhook attempt" && !answered["00-"+trace+"-"+s.ID+"-01"] {
				t.Errorf("%s: the receiver has no request under %s, but %v", transport, s.ID, answered)
			}
		}
		slices.Sort(got)
		for i := range ways {
			if len(got) != len(ways) || !slices.Contains(got, fmt.Sprint(ways[i])) {
				t.Errorf("%s: ways to %s are %v, want %v", transport, name, got, ways)
			}
		}
	}
	for _, s := range spans {
		if s.Trace == trace && s.End.Before(s.Start) {
			t.Errorf("%s: it ends before it begins: %+v", transport, s)
		}
	}
}

// checkAction compares an action's trace.
func checkAction(t *testing.T, spans []tracetest.Span, trace, asked string) {
	t.Helper()
	handlers := of(spans, trace, "provision handler")
	if len(handlers) != 1 {
		t.Fatalf("handlers have %+v", handlers)
	}
	h := handlers[0]
	if names, before := way(spans, h); fmt.Sprint(names) != "[provision decide provision handler]" || before != producersSpan {
		t.Errorf("the way to the handler is %v after %s", names, before)
	}
	if h.Attributes["http.response.status_code"] != int64(http.StatusOK) || h.Attributes["tollgate.decision"] != "allow" || h.Attributes["tollgate.changes"] != int64(1) {
		t.Errorf("the handler's span is %+v", h)
	}
	if asked != "00-"+trace+"-"+h.ID+"-01" {
		t.Errorf("the handler was asked under %s, want span %s", asked, h.ID)
	}
	for _, s := range of(spans, trace, "webhook attempt") {
		if names, before := way(spans, s); fmt.Sprint(names) != "[provision decide trigger evaluate webhook attempt]" || before != producersSpan {
			t.Errorf("the way of what was decided is %v after %s", names, before)
		}
	}
}

// checkBegun looks at an event without a traceparent: its trace begins at ingest.
func checkBegun(t *testing.T, spans []tracetest.Span) {
	t.Helper()
	for _, s := range spans {
		if s.Name == "safeguard count" && s.Attributes["cloudevents.event_id"] == "activation-0" {
			if names, before := way(spans, s); fmt.Sprint(names) != "[ingest safeguard count]" || before != "" {
				t.Errorf("the way is %v after %q", names, before)
			}
		}
	}
}

func tracedResources(receiver *fleet.Receiver, in *inboxes) []proto.Message {
	policy := receiver.Policy()
	policy.Ports = append(policy.Ports, uint32(in.mailPort))
	all := resources(receiver, time.Now().UTC())
	own := hookResources(receiver)
	webhook := &configv1.Action{Name: "hook", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/table"}}}
	mail := &configv1.Action{Name: "mail", Action: &configv1.Action_Email{Email: &configv1.EmailAction{
		SmtpProfile: "tenants/acme/smtpProfiles/care", Recipients: &configv1.EmailRecipients{Addresses: []string{"noc@acme.example"}},
		Subject: "reached", Text: "It is reached.",
	}}}
	notification := func(code, typ string, actions ...*configv1.Action) *configv1.Notification {
		return &configv1.Notification{
			Name: "tenants/acme/notifications/" + code, Active: true, Trigger: &configv1.Trigger{EventTypes: []string{typ}}, Actions: actions,
		}
	}
	return append([]proto.Message{
		&configv1.Tenant{Name: "tenants/acme", Outbound: policy}, all[1], all[2],
		&configv1.SmtpProfile{
			Name: "tenants/acme/smtpProfiles/care", Host: "127.0.0.1", Port: int32(in.mailPort), Tls: configv1.SmtpTls_SMTP_TLS_NONE, FromAddress: "care@acme.example",
		},
		notification("reached", "safeguard.reached", webhook, mail), notification("usage", "usage.charged", webhook),
	}, own[1:]...)
}

// activate makes four subscribers known.
func activate(t *testing.T, p *producers) {
	t.Helper()
	for n := range 4 {
		p.publishOne(eventOf(t, fmt.Sprint("activation-", n), "subscriber.activated", msisdn(n),
			&eventv1.SubscriberActivated{ClassOfService: "roamer", Imsi: fmt.Sprintf("23430%010d", n), Language: "de"}))
	}
}

// usageOf passes the limit at once.
func usageOf(t *testing.T, subscriber int, id string) *eventv1.Event {
	t.Helper()
	return eventOf(t, id, "usage.charged", msisdn(subscriber), &eventv1.UsageCharged{
		Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Unit: "byte", VisitedCountry: "FR", Net: euro(2 * limitUnits * model.Unit),
	})
}

func eventOf(t *testing.T, id, kind, subject string, data proto.Message) *eventv1.Event {
	t.Helper()
	packed, err := anypb.New(data)
	if err != nil {
		t.Fatal(err)
	}
	return &eventv1.Event{Id: id, Source: "mediation", Type: kind, Tenant: "acme", Subject: subject, Time: timestamppb.New(time.Now()), Data: packed}
}

func (p *producers) tracedHTTP(e *eventv1.Event, trace string) {
	p.Helper()
	var answer struct{ ID string }
	code, err := p.requestWith(map[string]string{"content-type": "application/cloudevents+json", "traceparent": trace}, cloudEvent(p, e), &answer)
	if err != nil || code != http.StatusOK || answer.ID != e.GetId() {
		p.Fatalf("HTTP answers %d %v: %v", code, answer, err)
	}
}

func (p *producers) tracedKafka(e *eventv1.Event, trace string) {
	p.Helper()
	record := asEvent.record(p, e)
	record.Topic, record.Partition = p.fleet.Client.Topic(stream.EventsInbound), stream.AnyPartition
	record.Headers = append(record.Headers, stream.Header{Key: "traceparent", Value: []byte(trace)})
	producer := p.fleet.Client.NewProducer()
	if err := producer.Produce(p.ctx, record); err != nil {
		p.Fatal(err)
	}
	if err := producer.Close(p.ctx); err != nil {
		p.Fatal(err)
	}
}

// decide asks about a client that the handler changes and allows.
func (p *producers) decide(provision *fleet.Member, trace string) {
	p.Helper()
	conn, err := p.fleet.Dial(provision.Address("grpc"))
	if err != nil {
		p.Fatal(err)
	}
	data, err := anypb.New(&eventv1.ClientChanged{Client: &eventv1.Account{Id: "7401", Name: "Zoë", BillDay: 3}})
	if err != nil {
		p.Fatal(err)
	}
	within, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(p.ctx, "traceparent", trace), time.Minute)
	defer cancel()
	res, err := provisionv1.NewProvisioningServiceClient(conn).Decide(within, &provisionv1.DecideRequest{
		Tenant: "acme", Type: "client.created", ObjectId: "7401", Data: data, IdempotencyKey: "k-traced",
	})
	if err != nil || res.GetDecision() != provisionv1.Decision_DECISION_ALLOW {
		p.Fatalf("%v: %v", res, err)
	}
}
