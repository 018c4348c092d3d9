package scenario

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// mailed are the entities that have tokens of a contact.
var mailed = []string{"account", "balance", "client", "creditnote", "document", "invoice", "package", "safeguard", "service", "subscriber", "usage"}

// Each built-in type, in each encoding that producers may use, by each transport, comes to a webhook with the data that it had,
// and to an e-mail where it holds a contact. What only Tollgate publishes is refused from producers, and notified like the others.
func TestTypes_ReachWebhookAndEMailFromEachEncoding(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		in := openInboxes(t, ctx)
		resources := []proto.Message{
			&configv1.Tenant{Name: "tenants/acme", Outbound: in.policy()},
			&configv1.Endpoint{
				Name: "tenants/acme/endpoints/crm", Url: in.URL("/"), Secrets: []string{in.Secret}, CaCertificates: in.Authority,
				PersonalData: configv1.PersonalData_PERSONAL_DATA_INCLUDE,
			},
			&configv1.SmtpProfile{
				Name: "tenants/acme/smtpProfiles/care", Host: "127.0.0.1", Port: int32(in.mailPort), Tls: configv1.SmtpTls_SMTP_TLS_NONE, FromAddress: "care@acme.example",
			},
		}
		entities := map[string]bool{}
		for _, typ := range event.Types() {
			n := notificationOf(typ)
			resources = append(resources, n)
			if len(n.GetActions()) > 1 {
				entities[typ.Entity] = true
			}
		}
		if got := slices.Sorted(maps.Keys(entities)); !slices.Equal(got, mailed) {
			t.Errorf("e-mail is for %v, want %v", got, mailed)
		}
		members := start(t, ctx, f, notifying, func() int64 {
			revision, err := f.Configure(ctx, resources...)
			if err != nil {
				t.Fatal(err)
			}
			return revision
		})
		s := &samples{t: t, p: newProducers(t, ctx, f, members["ingest"]), want: map[string]*eventv1.Event{}}
		s.send()
		letters := 0
		for _, e := range s.want {
			if typ, _ := event.Lookup(e.GetType()); hasContact(typ) {
				letters++
			}
		}
		webhooks, mail := in.until(t, ctx, fmt.Sprintf("%d webhooks and %d letters came", len(s.want), letters), func(w []webhook, l []letter) bool {
			return len(w) >= len(s.want) && len(l) >= letters
		})
		t.Logf("%d webhooks, %d letters", len(webhooks), len(mail))
		s.compare(webhooks, mail)
	})
}

// notificationOf fires on each event of a type.
func notificationOf(typ event.Type) *configv1.Notification {
	n := &configv1.Notification{
		Name: "tenants/acme/notifications/" + codeOf(typ.Name), Active: true, Trigger: &configv1.Trigger{EventTypes: []string{typ.Name}},
		Actions: []*configv1.Action{{Name: "hook", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/crm"}}}},
	}
	if hasContact(typ) {
		n.Actions = append(n.Actions, &configv1.Action{Name: "mail", Action: &configv1.Action_Email{Email: &configv1.EmailAction{
			SmtpProfile: "tenants/acme/smtpProfiles/care", Recipients: &configv1.EmailRecipients{Contacts: []string{"{{.Contact.Email}}"}},
			Subject: "{{.Core.EventName}} {{.Core.EventId}}", Text: "To {{.Contact.Name}}.",
		}}})
	}
	return n
}

// codeOf makes a code of a type's name.
func codeOf(typ string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(typ) }

// hasContact reports whether a type has tokens of a contact, and its data one.
func hasContact(typ event.Type) bool {
	return slices.Contains(mailed, typ.Entity) && typ.Data.ProtoReflect().Descriptor().Fields().ByName("contact") != nil
}

// samples are events of each type, and who sends them.
type samples struct {
	t    *testing.T
	p    *producers
	want map[string]*eventv1.Event // by id
}

// of is an event of a type that is sent in a way. Each has a subject of its own, so that they go by all partitions.
func (s *samples) of(typ event.Type, way string) *eventv1.Event {
	s.t.Helper()
	sample, _ := event.Sample(typ.Name, "acme", way+" "+typ.Name, time.Now())
	data, err := anypb.New(sample.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	e := sample.Proto()
	e.Source, e.Subject, e.ReceivedAt, e.Data = "crm", fmt.Sprintf("%s/%d", typ.Entity, len(s.want)), nil, data
	if typ.Subscriber {
		e.Subject = fmt.Sprintf("4477009%05d", len(s.want))
	}
	s.want[e.GetId()] = e
	return e
}

// send sends an event of each type in each way.
func (s *samples) send() {
	s.t.Helper()
	var byProducers, own []event.Type
	for _, typ := range event.Types() {
		if typ.Reserved {
			own = append(own, typ)
		} else {
			byProducers = append(byProducers, typ)
		}
	}
	ways := map[string]func([]*eventv1.Event){
		"gRPC":       s.publish,
		"HTTP batch": s.postBatch,
	}
	for _, f := range []form{asEvent, asObject, asFormat, asBinaryJSON, asBinaryProtobuf} {
		ways["Kafka "+string(f)] = func(all []*eventv1.Event) { s.produce(all, f) }
		if f != asEvent {
			ways["HTTP "+string(f)] = func(all []*eventv1.Event) { s.post(all, f) }
		}
	}
	for _, way := range slices.Sorted(maps.Keys(ways)) {
		var all []*eventv1.Event
		for _, typ := range byProducers {
			all = append(all, s.of(typ, way))
		}
		ways[way](all)
	}
	s.refuse(own)
	s.publishOwn(own)
}

func (s *samples) produce(all []*eventv1.Event, f form) {
	s.t.Helper()
	producer := s.p.fleet.Client.NewProducer()
	var records []stream.Record
	for _, e := range all {
		r := f.record(s.t, e)
		r.Topic, r.Partition = s.p.fleet.Client.Topic(stream.EventsInbound), stream.AnyPartition
		records = append(records, r)
	}
	if err := producer.Produce(s.p.ctx, records...); err != nil {
		s.t.Fatal(err)
	}
	if err := producer.Close(s.p.ctx); err != nil {
		s.t.Error(err)
	}
}

func (s *samples) publish(all []*eventv1.Event) {
	s.t.Helper()
	answer, err := s.p.grpc.PublishBatch(s.p.ctx, &ingestv1.PublishBatchRequest{Events: all})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, r := range answer.GetResults() {
		if r.GetError() != nil {
			s.t.Errorf("gRPC refuses %s: %v", all[i].GetType(), r.GetError())
		}
	}
}

func (s *samples) postBatch(all []*eventv1.Event) {
	s.t.Helper()
	var items []item
	for _, e := range all {
		items = append(items, item{event: e})
	}
	if err := s.p.postBatch(items); err != nil {
		s.t.Fatal(err)
	}
}

func (s *samples) post(all []*eventv1.Event, f form) {
	s.t.Helper()
	for _, e := range all {
		headers, body := f.written(s.t, e, "ce-")
		var answer struct{ Reason, Detail string }
		code, err := s.p.requestWith(headers, body, &answer)
		if err != nil || code != http.StatusOK {
			s.t.Fatalf("HTTP answers %d to %s in %s: %v, %v", code, e.GetType(), f, answer, err)
		}
	}
}

// refuse sends what producers may not.
func (s *samples) refuse(own []event.Type) {
	s.t.Helper()
	var all []*eventv1.Event
	for _, typ := range own {
		e := s.of(typ, "refused")
		delete(s.want, e.GetId())
		all = append(all, e)
	}
	answer, err := s.p.grpc.PublishBatch(s.p.ctx, &ingestv1.PublishBatchRequest{Events: all})
	if err != nil {
		s.t.Fatal(err)
	}
	for i, r := range answer.GetResults() {
		if got := reasonOf(r.GetError()); got != "TYPE_RESERVED" {
			s.t.Errorf("gRPC answers %q to %s", got, all[i].GetType())
		}
	}
}

// publishOwn publishes what only Tollgate does, to the topics of its services and as one of them.
func (s *samples) publishOwn(own []event.Type) {
	s.t.Helper()
	for user, publishes := range map[string]func(event.Type) (topic string, its bool){
		"safeguard": func(typ event.Type) (string, bool) { return stream.Safeguards, typ.Entity == "safeguard" },
		"trigger": func(typ event.Type) (string, bool) {
			if typ.Queue == event.Unordered {
				return stream.EventsUnordered, typ.Entity != "safeguard"
			}
			return stream.EventsOrdered, typ.Entity != "safeguard"
		},
	} {
		var records []stream.Record
		for _, typ := range own {
			name, its := publishes(typ)
			if !its {
				continue
			}
			sent := s.of(typ, "own")
			sample, _ := event.Sample(typ.Name, "acme", sent.GetId(), sent.GetTime().AsTime())
			sample.Source, sample.Subject = sent.GetSource(), sent.GetSubject()
			r, err := sample.Record(s.p.fleet.Client.Topic(name))
			if err != nil {
				s.t.Fatal(err)
			}
			records = append(records, r)
		}
		produceAs(s.t, s.p.ctx, s.p.fleet, user, records)
	}
}

// produceAs produces as one of our services.
func produceAs(t testing.TB, ctx context.Context, f *fleet.Fleet, user string, records []stream.Record) {
	t.Helper()
	client, err := f.Kafka(user)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	producer := client.NewProducer()
	if err := producer.Produce(ctx, records...); err != nil {
		t.Fatal(err)
	}
	if err := producer.Close(ctx); err != nil {
		t.Error(err)
	}
}

// compare asks that each event came once to whom it is for, as it was.
func (s *samples) compare(webhooks []webhook, letters []letter) {
	s.t.Helper()
	waiting, mail := maps.Clone(s.want), map[string]bool{}
	for id, e := range s.want {
		if typ, _ := event.Lookup(e.GetType()); hasContact(typ) {
			mail[e.GetType()+" "+id] = true
		}
	}
	for _, w := range webhooks {
		e := waiting[w.ID]
		if e == nil {
			s.t.Errorf("a webhook of %q %q came twice, or was not sent", w.Type, w.ID)
			continue
		}
		delete(waiting, w.ID)
		if w.Type != e.GetType() || w.Source != e.GetSource() || w.Subject != e.GetSubject() || w.Notification != codeOf(e.GetType()) {
			s.t.Errorf("webhook %s is of %s %s %s by %s", w.ID, w.Type, w.Source, w.Subject, w.Notification)
		}
		sent, err := e.GetData().UnmarshalNew()
		if err != nil {
			s.t.Fatal(err)
		}
		got := sent.ProtoReflect().New().Interface()
		if err := protojson.Unmarshal(w.Data, got); err != nil {
			s.t.Errorf("webhook %s: %v in %s", w.ID, err, w.Data)
		} else if want := event.WithoutContact(sent, true); !proto.Equal(want, got) {
			s.t.Errorf("webhook %s has %v, want %v", w.ID, got, want)
		}
		if strings.Contains(string(w.Data), "@example.com") {
			s.t.Errorf("webhook %s has a contact: %s", w.ID, w.Data)
		}
	}
	for _, l := range letters {
		if !mail[l.Subject] || l.To != "sample@example.com" || l.Text != "To sample." {
			s.t.Errorf("letter %+v came twice, or was not sent", l)
		}
		delete(mail, l.Subject)
	}
	if len(waiting)+len(mail) > 0 {
		s.t.Errorf("no webhook of %v, no letter of %v", slices.Sorted(maps.Keys(waiting)), slices.Sorted(maps.Keys(mail)))
	}
}
