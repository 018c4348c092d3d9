package scenario

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
)

// topicPatience is how long the trigger waits for a topic that went away, and a while.
const topicPatience = 40 * time.Second

// A notification publishes to a topic of its tenant: one that is there and the tenant's. When the topic goes away, what is for it
// is a Decision and a dead letter, and everything else goes on: that takes half a minute, and comes with TOLLGATE_TEST_CLIENTS.
func TestTopic_OfATenantIsPublishedToUntilItGoesAway(t *testing.T) {
	onProcesses(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		s := openTenantTopic(t, ctx, f)
		s.members = start(t, ctx, f, []string{"config", "ingest", "trigger", "webhook"}, func() int64 { return s.configure() })
		conn, err := f.Dial(s.members["ingest"].Address("grpc"))
		if err != nil {
			t.Fatal(err)
		}
		publishClient(t, ctx, conn, "1")
		publishClient(t, ctx, conn, "2")
		records := streamtest.Await(ctx, t, s.tenant, "clients", func(all []stream.Record) bool { return len(all) >= 2 })
		for i, r := range records {
			want := fmt.Sprintf(`client/42 {"id":"%d"} [bill-day=0 content-type=application/json tollgate-notification=published tollgate-sequence=%d]`, i+1, i+1)
			if got := fmt.Sprintf("%s %s %s", r.Key, r.Value, valuesOf(r, "bill-day", "content-type", "tollgate-notification", "tollgate-sequence")); got != want {
				t.Errorf("record %d is %s; want %s", i, got, want)
			}
		}
		s.notified("1", "2")
		if os.Getenv("TOLLGATE_TEST_CLIENTS") == "" {
			return
		}
		brokers := f.Brokers()
		streamtest.DeleteTopic(t, brokers, s.topic)
		went := time.Now()
		publishClient(t, ctx, conn, "3")
		decisions := streamtest.Await(ctx, t, f.Client, stream.TriggersDecisions, func(all []stream.Record) bool { return len(all) > 0 })
		if waited := time.Since(went); waited > topicPatience {
			t.Errorf("decided after %s", waited)
		}
		var d triggerv1.Decision
		if err := proto.Unmarshal(decisions[0].Value, &d); err != nil {
			t.Fatal(err)
		}
		if d.GetReason() != triggerv1.Decision_REASON_TOPIC_UNAVAILABLE || d.GetEvent().GetId() != "3" || d.GetAction() != "publish" || d.GetEndpoint() != "topics/"+s.topic {
			t.Errorf("decided %v", &d)
		}
		var dead deliveryv1.DeadLetter
		letters := streamtest.Await(ctx, t, f.Client, stream.DeliveriesDead, func(all []stream.Record) bool { return len(all) > 0 })
		if err := proto.Unmarshal(letters[0].Value, &dead); err != nil {
			t.Fatal(err)
		}
		if got := dead.GetDelivery(); string(got.GetBody()) != `{"id":"3"}` || string(got.GetKey()) != "client/42" || got.GetSequence() != 3 || dead.GetLastAttempt().GetReason() != "topic_unavailable" {
			t.Errorf("the dead letter is %v", &dead)
		}
		s.notified("3")
		went = time.Now()
		publishClient(t, ctx, conn, "4") // nobody waits for the topic again
		s.notified("4")
		if waited := time.Since(went); waited > topicPatience/2 {
			t.Errorf("an event behind waited %s", waited)
		}
	})
}

// tenantTopic is a tenant with a topic on the same Kafka, and an endpoint beside it.
type tenantTopic struct {
	t       *testing.T
	ctx     context.Context
	fleet   *fleet.Fleet
	members map[string]*fleet.Member
	tenant  *stream.Client
	// prefix begins the topics of the tenant, topic is the one that there is.
	prefix, topic string
	inboxes       *inboxes
	taken         int
}

func openTenantTopic(t *testing.T, ctx context.Context, f *fleet.Fleet) *tenantTopic {
	t.Helper()
	s := &tenantTopic{t: t, ctx: ctx, fleet: f, prefix: "tenant-" + f.Prefix + ".", inboxes: openInboxes(t, ctx)}
	var err error
	s.tenant, err = stream.Open(stream.Config{Brokers: f.Brokers(), Prefix: strings.TrimSuffix(s.prefix, ".")}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.tenant.Close() }) // it was only read from
	if err := s.tenant.CreateTopics(ctx, []stream.TopicSpec{{Name: "clients", Partitions: 1}}, true); err != nil {
		t.Fatal(err)
	}
	s.topic = s.tenant.Topic("clients")
	return s
}

// configure saves what may be published, and tries what may not.
func (s *tenantTopic) configure() int64 {
	s.t.Helper()
	n := &configv1.Notification{
		Name: "tenants/acme/notifications/published", Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"client.updated"}},
		Actions: []*configv1.Action{
			{Name: "publish", Action: &configv1.Action_Topic{Topic: &configv1.TopicAction{
				Topic: s.topic, Value: `{"id":"{{.Core.EventId}}"}`, Headers: []*configv1.TopicHeader{{Name: "bill-day", Template: "{{.Account.BillDay}}"}},
			}}},
			{Name: "notify", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/acme/endpoints/crm"}}},
		},
	}
	revision, err := s.fleet.Configure(s.ctx,
		&configv1.Tenant{Name: "tenants/acme", Outbound: s.inboxes.policy(), TopicPrefixes: []string{s.prefix}},
		&configv1.Endpoint{Name: "tenants/acme/endpoints/crm", Url: s.inboxes.URL("/"), Secrets: []string{s.inboxes.Secret}, CaCertificates: s.inboxes.Authority},
		n,
	)
	if err != nil {
		s.t.Fatal(err)
	}
	for topic, want := range map[string]string{
		s.topic + "-missing":                       "does not exist: create it first",
		"of-another.clients":                       "must begin with one of the topic_prefixes",
		s.fleet.Client.Topic(stream.EventsInbound): "must not be a topic of Tollgate",
	} {
		other, _ := proto.Clone(n).(*configv1.Notification)
		other.Name += "-elsewhere"
		other.Actions[0].GetTopic().Topic = topic
		_, err := s.fleet.Configure(s.ctx, other)
		if err == nil || !strings.Contains(err.Error(), want) {
			s.t.Errorf("topic %s: %v", topic, err)
		}
	}
	return revision
}

// notified waits for the webhooks of these events, which follow one another.
func (s *tenantTopic) notified(ids ...string) {
	s.t.Helper()
	all, _ := s.inboxes.until(s.t, s.ctx, fmt.Sprintf("webhooks of %v came", ids), func(w []webhook, _ []letter) bool { return len(w) >= s.taken+len(ids) })
	for i, id := range ids {
		if got := all[s.taken+i].ID; got != id {
			s.t.Errorf("the webhook is of %s, want %s", got, id)
		}
	}
	s.taken += len(ids)
}

// valuesOf are some headers of a record as "name=value".
func valuesOf(r stream.Record, names ...string) (out []string) {
	for _, name := range names {
		out = append(out, name+"="+header(r, name))
	}
	return out
}
