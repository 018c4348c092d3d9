package webhook_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/channeltest"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

var profiles = []webhook.Profile{webhook.Tollgate, webhook.Parameters, webhook.CloudEventsBinary, webhook.Transatel, webhook.Jerasoft, webhook.Ocsio}

// textless have no place for parameters.
var textless = map[webhook.Profile]bool{webhook.CloudEventsBinary: true, webhook.Ocsio: true}

var update = flag.Bool("update", false, "write the golden files anew")

// compiled is a notification on the types that sends a webhook with the parameters.
func compiled(t testing.TB, types []string, parameters ...rules.Parameter) *rules.Rule {
	t.Helper()
	r, err := rules.Compile(rules.Notification{
		Tenant: "acme", Code: "reached", Version: 3, Active: true, Trigger: rules.Trigger{EventTypes: types},
		Actions: []rules.Action{{
			Name: "notify", Channel: webhook.Channel, Part: webhook.Action{Endpoint: "tenants/acme/endpoints/crm"}, Parameters: parameters,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// render makes the webhook for an event, one second later.
func render(t testing.TB, e *event.Event, to webhook.Endpoint, at channel.Position, parameters ...rules.Parameter) (channel.Message, error) {
	t.Helper()
	r := compiled(t, []string{e.Type}, parameters...)
	o := &rules.Occasion{Event: e, Now: channeltest.Noon.Add(time.Second), TenantName: "Acme Mobile"}
	recipients := r.Recipients(r.Actions[0], o, r.Actions[0].Target).To
	if len(recipients) != 1 {
		t.Fatalf("recipients %v", recipients)
	}
	return r.Render(r.Actions[0], o, to.Planning(), recipients[0], at)
}

func TestBody_IsTheGoldenBytes(t *testing.T) {
	texts := []rules.Parameter{
		{Name: "message", Template: `You used {{.Option.Spent}} of {{.Option.Limit}} {{.Option.Currency}}{{with .Option.Forecast}}, the rest lasts until {{.}}{{end}}. "<Zoë>"`},
		{Name: "at", Template: "{{.Core.CurrentDateTime}} {{.Core.CurrentDate}} {{.Core.CurrentTime}}"},
		{Name: "who", Template: "{{.Subscriber.Msisdn}}/{{.Subscriber.Imsi}}/{{.Core.Tenant}}"},
		{Name: "what", Template: "{{.Core.EventName}} {{.Option.Name}} {{.Option.State}} {{.Option.ThresholdPercent}}"},
		{Name: "empty", Template: ""},
	}
	of := []rules.Parameter{
		{Name: "option", Template: "{{.Option.Name}} {{.Option.State}} {{.Option.Spent}}/{{.Option.Limit}} {{.Option.Currency}}, next {{.Option.NextLimit}}, each {{.Option.PerPaymentLimit}}"},
		{Name: "reached", Template: "{{range .Option.AlertThresholds}}{{.}} {{end}}now {{.Option.Threshold}}{{if .Option.SecondNotice}} again{{end}}{{if .Option.Blocked}} blocked{{end}}"},
		{Name: "why", Template: "{{.Option.Reason}} {{.Option.TransactionReference}}"},
	}
	tests := map[string]struct {
		event  *event.Event
		to     webhook.Endpoint
		at     channel.Position
		params []rules.Parameter
		want   string // content type
	}{
		"tollgate-alert":              {channeltest.Alert(), webhook.Endpoint{}, channel.Position{Sequence: 2, Previous: "dlv_06eaih8afco4kfkf2nc8j8cvio"}, nil, "application/cloudevents+json"},
		"tollgate-alert-personal":     {channeltest.Alert(), webhook.Endpoint{IncludePersonal: true}, channel.Position{Sequence: 1}, nil, "application/cloudevents+json"},
		"tollgate-activated":          {channeltest.Activated(), webhook.Endpoint{}, channel.Position{Sequence: 1}, nil, "application/cloudevents+json"},
		"tollgate-activated-personal": {channeltest.Activated(), webhook.Endpoint{IncludePersonal: true}, channel.Position{}, nil, "application/cloudevents+json"},
		"parameters-alert":            {channeltest.Alert(), webhook.Endpoint{Profile: webhook.Parameters}, channel.Position{Sequence: 2, Previous: "dlv_x"}, texts, "application/json; charset=utf-8"},
		"parameters-alert-personal":   {channeltest.Alert(), webhook.Endpoint{Profile: webhook.Parameters, IncludePersonal: true}, channel.Position{}, texts, "application/json; charset=utf-8"},
		"tollgate-charged":            {channeltest.Charged(), webhook.Endpoint{}, channel.Position{Sequence: 1}, nil, "application/cloudevents+json"},
		"tollgate-charged-personal":   {channeltest.Charged(), webhook.Endpoint{IncludePersonal: true}, channel.Position{Sequence: 1}, nil, "application/cloudevents+json"},
		"parameters-charged":          {channeltest.Charged(), webhook.Endpoint{Profile: webhook.Parameters, IncludePersonal: true}, channel.Position{}, of, "application/json; charset=utf-8"},
		"parameters-noticed":          {channeltest.Noticed(), webhook.Endpoint{Profile: webhook.Parameters}, channel.Position{}, of, "application/json; charset=utf-8"},
		"parameters-none":             {channeltest.Alert(), webhook.Endpoint{Profile: webhook.Parameters}, channel.Position{}, nil, "application/json; charset=utf-8"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, tc.event, tc.to, tc.at, tc.params...)
			if err != nil {
				t.Fatal(err)
			}
			if got.ContentType != tc.want {
				t.Errorf("content type %q, want %q", got.ContentType, tc.want)
			}
			if !json.Valid(got.Body) {
				t.Errorf("not JSON: %s", got.Body)
			}
			golden(t, name+".json", got.Body)
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("bodies that were planned before would change:\n got %s\nwant %s", got, want)
	}
}

func TestBody_OfProfileTollgateIsAValidCloudEvent(t *testing.T) {
	e := channeltest.Alert()
	body, err := render(t, e, webhook.Endpoint{IncludePersonal: true}, channel.Position{Sequence: 7, Previous: "dlv_p"})
	if err != nil {
		t.Fatal(err)
	}
	var ce cloudevents.Event
	if err := json.Unmarshal(body.Body, &ce); err != nil {
		t.Fatal(err)
	}
	if err := ce.Validate(); err != nil {
		t.Error(err)
	}
	ext := ce.Extensions()
	if ce.ID() != e.ID || ce.Source() != e.Source || !ce.Time().Equal(channeltest.Noon) || ext["sequence"] != "0000000000000000007" || ext["previous"] != "dlv_p" || ext["notification"] != "reached" || ext["tenant"] != "acme" {
		t.Errorf("%s", ce)
	}
	var data eventv1.Safeguard
	if err := protojson.Unmarshal(ce.Data(), &data); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&data, e.Data) {
		t.Errorf("data %v, want %v", &data, e.Data)
	}
}

// What leaves by a webhook holds no contact ever, and nothing personal unless the endpoint may have it.
func TestBody_HasNoContactAndPersonalOnlyWhereIncluded(t *testing.T) {
	for _, typ := range event.Types() {
		full := proto.Clone(typ.Data)
		channeltest.Fill(full.ProtoReflect())
		personalWords, contactWords := channeltest.Marks(full.ProtoReflect())
		e := &event.Event{ID: "1", Source: "s", Type: typ.Name, Tenant: "acme", Time: channeltest.Noon, Data: full}
		for _, allowed := range []bool{false, true} {
			body, err := render(t, e, webhook.Endpoint{IncludePersonal: allowed}, channel.Position{})
			if err != nil {
				t.Fatal(err)
			}
			var parsed struct{ Data map[string]any }
			if err := json.Unmarshal(body.Body, &parsed); err != nil {
				t.Fatal(err)
			}
			for _, key := range contactWords {
				if _, ok := parsed.Data[key]; ok {
					t.Errorf("%s: %s leaves", typ.Name, key)
				}
			}
			for _, key := range personalWords {
				if _, ok := parsed.Data[key]; ok != allowed {
					t.Errorf("%s: %s leaves: %v, want %v", typ.Name, key, ok, allowed)
				}
			}
		}
	}
}

func TestBody_AboveTheBoundIsTooLarge(t *testing.T) {
	long := strings.Repeat("x", channel.MaxBody/2)
	e := channeltest.Alert()
	e.Data.(*eventv1.Safeguard).ClassOfService = long
	for name, params := range map[string][]rules.Parameter{
		"one text":         {{Name: "a", Template: "{{.Subscriber.ClassOfService}}{{.Subscriber.ClassOfService}}{{.Subscriber.ClassOfService}}"}},
		"all texts in all": {{Name: "a", Template: "{{.Subscriber.ClassOfService}}"}, {Name: "b", Template: "{{.Subscriber.ClassOfService}}"}, {Name: "c", Template: "{{.Subscriber.ClassOfService}}"}},
	} {
		t.Run(name, func(t *testing.T) {
			larger := channeltest.Alert()
			larger.Data.(*eventv1.Safeguard).ClassOfService = long + long
			for _, profile := range profiles {
				if _, err := render(t, e, webhook.Endpoint{Profile: profile}, channel.Position{}, params...); textless[profile] != (err == nil) || err != nil && !errors.Is(err, channel.ErrTooLarge) {
					t.Errorf("%s with such parameters: %v", profile, err)
				}
				if _, err := render(t, larger, webhook.Endpoint{Profile: profile}, channel.Position{}); profile != webhook.Parameters && !errors.Is(err, channel.ErrTooLarge) {
					t.Errorf("%s with such data: %v", profile, err)
				}
			}
		})
	}
}
