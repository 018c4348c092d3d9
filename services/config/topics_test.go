package config

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// publishing is an active notification of tenant acme that publishes to topics.
func publishing(code string, topics ...string) *configv1.Notification {
	n := &configv1.Notification{
		Name: "tenants/acme/notifications/" + code, Active: true, Trigger: &configv1.Trigger{EventTypes: []string{"usage.charged"}},
	}
	for _, name := range topics {
		n.Actions = append(n.Actions, &configv1.Action{Name: "to " + name, Action: &configv1.Action_Topic{Topic: &configv1.TopicAction{Topic: name}}})
	}
	return n
}

// withTopics is the service beside a broker that has one topic of tenant acme, whose prefix is the second result.
func withTopics(t *testing.T, b streamtest.Broker) (_ *running, prefix string) {
	t.Helper()
	cfg := stream.Config{Brokers: b.Addrs, Prefix: streamtest.NewPrefix(t)}
	client, err := stream.Open(cfg, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.CreateTopics(t.Context(), []stream.TopicSpec{{Name: "usage", Partitions: 1}}, true); err != nil {
		t.Fatal(err)
	}
	own := stream.DefaultConfig()
	own.Brokers, own.Prefix = b.Addrs, "own"
	r := startWith(t, own)
	r.tenant("acme")
	must[*configv1.Tenant](t)(r.prefixes(t.Context(), cfg.Prefix+"."))
	return r, cfg.Prefix + "."
}

func (r *running) prefixes(ctx context.Context, prefixes ...string) (*configv1.Tenant, error) {
	return r.tenants.UpdateTenant(ctx, &configv1.UpdateTenantRequest{
		Tenant: &configv1.Tenant{Name: "tenants/acme", TopicPrefixes: prefixes}, UpdateMask: mask("topic_prefixes"),
	})
}

func wantViolations(t *testing.T, err error, want ...string) {
	t.Helper()
	got := fault.ViolationsOf(err)
	if len(got) != len(want) {
		t.Errorf("violations %v of %v, want %q", got, err, want)
		return
	}
	for i, part := range want {
		if !strings.Contains(got[i].String(), part) {
			t.Errorf("violation %q lacks %q", got[i], part)
		}
	}
}

func TestTopics_ExistAndAreTheTenantsWhenSaved(t *testing.T) {
	t.Parallel()
	for _, b := range streamtest.Brokers(t) {
		t.Run(b.Name, func(t *testing.T) {
			r, prefix := withTopics(t, b)
			ctx := t.Context()
			create := func(n *configv1.Notification) error {
				_, err := r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: n, ValidateOnly: true})
				return err
			}
			wantViolations(t, create(publishing("n", prefix+"usage")))
			// Whether others' topics exist stays unknown.
			wantViolations(t, create(publishing("n", prefix+"usages", "other.usage", "own.events.inbound", prefix, "", "_x")),
				"notification.actions[4].topic.topic: must be 1 to 249", "notification.actions[5].topic.topic: must be 1 to 249",
				"notification.actions[0].topic.topic: "+prefix+"usages does not exist: create it first",
				"notification.actions[2].topic.topic: must not be a topic of Tollgate",
				"actions[1].topic.topic: must begin with one of the topic_prefixes of tenants/acme", "actions[2].topic.topic: must begin", "actions[3].topic.topic: must begin",
				"actions[4].topic.topic: must begin", "actions[5].topic.topic: must begin")
			wrong := publishing("n", prefix+"usage")
			wrong.Actions[0].GetTopic().Headers = []*configv1.TopicHeader{{Name: "Tollgate-Id"}, {Name: "a b"}, {Name: "x"}, {Name: "x"}, {Name: "traceparent"}}
			wrong.Actions[0].GetTopic().ContentType, wrong.Actions[0].Collapse, wrong.Actions[0].GetTopic().Key = "json", "x", "{{.Contact.Email}}{{.Usage.Servise}}"
			wantViolations(t, create(wrong), "topic.content_type: must be with a value", "topic.content_type: must be a media type",
				`headers[0].name: "Tollgate-Id" is written with every record`, "headers[1].name: must be 1 to 100 letters", `headers[3].name: "x" is there twice`, "headers[4].name",
				"topic.key: INVALID_TOKEN: .Contact does not exist", "topic.key: INVALID_TOKEN: .Usage.Servise does not exist for usage.charged, the nearest that exists is .Usage.Service",
				"actions[0].collapse: must not be with a topic")

			// The tenant keeps the prefix while an active notification publishes there.
			saved := must[*configv1.Notification](t)(r.notes.CreateNotification(ctx, &configv1.CreateNotificationRequest{Notification: publishing("n", prefix+"usage")}))
			_, err := r.prefixes(ctx, "globex.")
			wantViolations(t, err, "tenant.topic_prefixes: must have the beginnings of the topics that are published to: change or deactivate first tenants/acme/notifications/n")
			must[*configv1.Tenant](t)(r.prefixes(ctx, "globex.", prefix))

			// What is saved already is not asked for again: only the other topic is missing.
			streamtest.DeleteTopic(t, b.Addrs, prefix+"usage")
			saved.Description = "another"
			must[*configv1.Notification](t)(r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: saved}))
			more := proto.Clone(saved).(*configv1.Notification)
			more.Metadata, more.Actions = nil, append(more.Actions, publishing("n", prefix+"more").GetActions()...)
			_, err = r.notes.UpdateNotification(ctx, &configv1.UpdateNotificationRequest{Notification: more})
			wantViolations(t, err, "actions[1].topic.topic: "+prefix+"more does not exist")
		})
	}
}

func TestTopics_PrefixesHoldNoTopicOfOurs(t *testing.T) {
	t.Parallel()
	r := start(t)
	r.tenant("acme")
	_, err := r.prefixes(t.Context(), "acme.", "tollgate.", "tollgate.x-", "t", "tollgate", "", "_x.", "a b.", "acme.", "tollgate-acme.")
	wantViolations(t, err, "[1]: must not hold topics of Tollgate", "[2]: must not hold", "[3]: must be letters", "[4]: must be letters", "[5]: must be", "[6]: must be", "[7]: must be",
		`[8]: "acme." is there twice`)
	must[*configv1.Tenant](t)(r.prefixes(t.Context(), "acme.", "tollgate-acme."))
}

// Without Kafka a notification that publishes is not saved, and one that does not is.
func TestTopics_WithoutKafkaNothingIsSavedThatPublishes(t *testing.T) {
	t.Parallel()
	cfg := stream.DefaultConfig()
	cfg.Brokers = []string{"127.0.0.1:1"}
	r := startWith(t, cfg)
	r.tenant("acme")
	r.endpoint("crm")
	must[*configv1.Tenant](t)(r.prefixes(t.Context(), "acme."))
	_, err := r.notes.CreateNotification(t.Context(), &configv1.CreateNotificationRequest{Notification: publishing("n", "acme.usage")})
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "whether acme.usage exists is not known") {
		t.Error(err)
	}
	r.notification("other", "crm")
}
