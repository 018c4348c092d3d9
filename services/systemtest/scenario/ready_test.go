package scenario

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/pkg/stream/streamtest"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
	triggerv1 "github.com/tollgate/tollgate/proto/gen/tollgate/trigger/v1"
	"github.com/tollgate/tollgate/services/systemtest/fleet"
	"github.com/tollgate/tollgate/services/tollgate/cli"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

const (
	readyFolder = "../../../deploy/notifications"
	// readyHistories has of each ready notification what happens, and what it sends.
	readyHistories = "../../tollgate/manifest/testdata/notifications"
)

// readyTimers are histories of those that fire by the time that passes. An event's own time is so long ago: a timer that was due
// by then fires at once, the others wait; and one is due while the script runs.
var readyTimers = map[string]string{
	"invoice-reminder": `
@480h invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i1","number":"R-1","due_amount":{"currency_code":"EUR","units":"49","nanos":900000000},"due_date":"2026-03-31T00:00:00Z"},"contact":{"name":"Jane Doe","email":"jane@example.com"}}
  billing: Invoice R-1 of account 7 was delivered 14 days ago and no payment came: €49.90.
  customer, to jane@example.com: Please remember invoice R-1
    | Dear Jane Doe,
    | 
    | We have not seen a payment for invoice R-1 yet. Please pay €49.90 by March 31, 2026.
    | 
    | Example Mobile
@0s invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i2","number":"R-2","due_amount":{"currency_code":"EUR","units":"10"}},"contact":{"email":"jane@example.com"}}
@480h invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i3","number":"R-3","due_amount":{"currency_code":"EUR","units":"0"}},"contact":{"email":"jane@example.com"}}
@0s payment.processed account/7 {"account":{"id":"7"},"payment":{"id":"y1","amount":{"currency_code":"EUR","units":"10"},"documents":["i2"]}}
`,
	"invoice-due-soon": `
@0s invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i1","number":"R-1","due_amount":{"currency_code":"EUR","units":"20"},"due_date":"2026-03-31T00:00:00Z"},"contact":{"name":"Jane Doe","email":"jane@example.com"}}
  billing: Invoice R-1 of account 7 is due on March 31, 2026: €20.00 are open.
  customer, to jane@example.com: Invoice R-1 is due on March 31, 2026
    | Dear Jane Doe,
    | 
    | Please pay €20.00 for invoice R-1 by March 31, 2026.
    | 
    | Example Mobile
@0s invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i2","number":"R-2","due_amount":{"currency_code":"EUR","units":"10"},"due_date":"2099-03-31T00:00:00Z"},"contact":{"email":"jane@example.com"}}
@0s invoice.delivered account/7 {"account":{"id":"7"},"document":{"id":"i9","number":"R-9","due_amount":{"currency_code":"EUR","units":"5"}},"contact":{"email":"jane@example.com"}}
@0s document.balance_changed account/7 {"account":{"id":"7"},"document":{"id":"i2","number":"R-2","due_amount":{"currency_code":"EUR","units":"0"},"due_date":"2099-03-31T00:00:00Z"},"contact":{"email":"jane@example.com"}}
`,
	"sim-dormant": `
@721h subscriber.activated 447700900123 {"class_of_service":"c"}
  billing: SIM of 447700900123 was not used for 30 days.
@719h59m38s usage.charged 447700900124 {"category":"CATEGORY_DATA","net":{"currency_code":"EUR","units":"1"},"gross":{"currency_code":"EUR","units":"1"},"quantity":"1000","unit":"byte"}
  billing: SIM of 447700900124 was not used for 30 days.
@719h59m40s usage.charged 447700900125 {"category":"CATEGORY_DATA","net":{"currency_code":"EUR","units":"1"},"gross":{"currency_code":"EUR","units":"1"},"quantity":"1000","unit":"byte"}
@0s subscriber.terminated 447700900125 {}
@0s usage.charged 447700900126 {"category":"CATEGORY_DATA","net":{"currency_code":"EUR","units":"1"},"gross":{"currency_code":"EUR","units":"1"},"quantity":"1000","unit":"byte"}
`,
}

// collapses is the one notification of which a newer e-mail may replace an older one that waits.
const collapses = "usage-thresholds"

// The ready notifications, put into a tenant as their README has it: each one's events come to the webhook and the e-mail that it is
// for, and nothing else comes of them.
func TestReady_NotificationsNotifyThroughRunningServices(t *testing.T) {
	onBeds(t, func(t *testing.T, ctx context.Context, f *fleet.Fleet) {
		in := openInboxes(t, ctx)
		members := start(t, ctx, f, notifying, func() int64 { return applyReady(t, ctx, f, in) })
		histories := readHistories(t)
		markers := sendHistories(t, ctx, f, members["ingest"], histories)

		hooks, letters := 0, 0
		for _, h := range histories {
			hooks += len(h.hooks)
			if h.code != collapses {
				letters += len(h.letters)
			}
		}
		webhooks, mail := in.until(t, ctx, fmt.Sprintf("%d webhooks, %d letters and %d markers came", hooks, letters, markers), func(w []webhook, l []letter) bool {
			came, marked := 0, 0
			for _, one := range w {
				if one.Notification == "marker" {
					marked++
				} else if h := histories[one.Notification]; h != nil && h.subjects[one.Subject] {
					came++
				}
			}
			wanted := 0
			for _, one := range l {
				if h := histories[strings.TrimSuffix(one.To, "@example.com")]; h != nil && h.code != collapses && slices.Contains(h.letters, one) {
					wanted++
				}
			}
			return came >= hooks && marked >= markers && wanted >= letters
		})
		planned := plannedBy(t, ctx, f)
		var got []string
		want := []string{"invoice-due-soon 2", "invoice-reminder 2"}
		if !soon(ctx, func() bool { got = cancelled(t, ctx, f); return slices.Equal(got, want) }) {
			t.Errorf("cancelled are the timers of %q, want %q", got, want)
		}
		for _, code := range slices.Sorted(maps.Keys(histories)) {
			histories[code].compare(t, webhooks, mail, planned)
		}
	})
}

// applyReady applies the folder with the addresses of these inboxes, and returns the revision.
func applyReady(t *testing.T, ctx context.Context, f *fleet.Fleet, in *inboxes) int64 {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob(readyFolder + "/*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d ready notifications, %v", len(files), err)
	}
	authority := "ca_certificates: |\n  " + strings.ReplaceAll(strings.TrimSpace(in.Authority), "\n", "\n  ") + "\n"
	outbound := fmt.Sprintf("outbound: {ports: [%d, %d], networks: [127.0.0.0/8]}\n", in.policy().GetPorts()[0], in.mailPort)
	edit := map[string]func(string) string{
		"tenant.yaml": func(text string) string { return text + outbound },
		"endpoint.yaml": func(text string) string {
			return replaceLines(t, text, map[string]string{"url:": "url: " + in.URL("/"), "secrets:": "secrets: [" + in.Secret + "]", "status:": ""}) + authority
		},
		"smtp-profile.yaml": func(text string) string {
			return replaceLines(t, text, map[string]string{"host:": "host: 127.0.0.1", "port:": fmt.Sprintf("port: %d\ntls: SMTP_TLS_NONE", in.mailPort), "status:": ""})
		},
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		if change := edit[filepath.Base(file)]; change != nil {
			text = change(text)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, faults strings.Builder
	code := cli.Run(ctx, []string{"apply", "-f", dir, "--config", f.Configuration(), "--api-key", f.Key}, command.Streams{In: strings.NewReader(""), Out: &out, Err: &faults}, time.Now())
	if code != 0 || strings.Count(out.String(), "created") != len(files) {
		t.Fatalf("apply ends with %d: %s%s", code, out.String(), faults.String())
	}
	revision, err := f.Configure(ctx, &configv1.Notification{
		Name: "tenants/mobile/notifications/marker", Active: true,
		Trigger: &configv1.Trigger{EventTypes: []string{"account.updated", "safeguard.late"}, Filter: `id.startsWith("marker")`},
		Actions: []*configv1.Action{{Name: "hook", Action: &configv1.Action_Webhook{Webhook: &configv1.WebhookAction{Endpoint: "tenants/mobile/endpoints/billing"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// replaceLines replaces the lines that begin with a key.
func replaceLines(t *testing.T, text string, by map[string]string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	for begin, line := range by {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, begin) })
		if i < 0 {
			t.Fatalf("no line begins with %s in %s", begin, text)
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}

// history is what happens to a notification, and what it sends.
type history struct {
	code     string
	events   []*eventv1.Event
	subjects map[string]bool
	hooks    []string
	letters  []letter
}

// readHistories reads those of all ready notifications, each with subjects and an address of its own.
func readHistories(t *testing.T) map[string]*history {
	t.Helper()
	files, err := filepath.Glob(readyHistories + "/*.txt")
	if err != nil || len(files) != 44 {
		t.Fatalf("%d histories, %v", len(files), err)
	}
	all := map[string]*history{}
	for i, file := range files {
		code := strings.TrimSuffix(filepath.Base(file), ".txt")
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		if timed, ok := readyTimers[code]; ok {
			text = timed
		} else if strings.Contains(text, "\nuntil ") {
			t.Errorf("%s fires by time: it needs a history in this script", code)
		}
		text = strings.ReplaceAll(text, "447700900", fmt.Sprintf("4477%05d", 10000+i))
		text = strings.ReplaceAll(text, "jane@example.com", code+"@example.com")
		h := &history{code: code, subjects: map[string]bool{}}
		for line := range strings.Lines(strings.TrimLeft(text, "\n")) {
			h.read(t, strings.TrimSuffix(line, "\n"))
		}
		for i := range h.letters {
			h.letters[i].Text = strings.TrimSpace(h.letters[i].Text)
		}
		all[code] = h
	}
	return all
}

// read takes one line of a history.
func (h *history) read(t *testing.T, line string) {
	t.Helper()
	if !strings.HasPrefix(line, " ") {
		h.events = append(h.events, h.event(t, line))
		return
	}
	line = strings.TrimPrefix(line, "  ")
	switch {
	case strings.HasPrefix(line, "fires "):
	case strings.HasPrefix(line, "billing: "):
		h.hooks = append(h.hooks, strings.TrimPrefix(line, "billing: "))
	case strings.HasPrefix(line, "customer, to "):
		to, subject, _ := strings.Cut(strings.TrimPrefix(line, "customer, to "), ": ")
		h.letters = append(h.letters, letter{To: to, Subject: subject})
	case strings.HasPrefix(line, "  |"):
		last := &h.letters[len(h.letters)-1]
		last.Text += strings.TrimPrefix(strings.TrimPrefix(line, "  |"), " ") + "\n"
	default:
		t.Fatalf("%s: %q is no line of a history", h.code, line)
	}
}

func (h *history) event(t *testing.T, line string) *eventv1.Event {
	t.Helper()
	ago := time.Duration(0)
	if rest, timed := strings.CutPrefix(line, "@"); timed {
		text, of, _ := strings.Cut(rest, " ")
		var err error
		if ago, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		line = of
	}
	fields := strings.SplitN(line, " ", 3)
	typ, ok := event.Lookup(fields[0])
	if !ok || len(fields) != 3 {
		t.Fatalf("%s: %q is no event", h.code, line)
	}
	data := typ.Data.ProtoReflect().New().Interface()
	if err := protojson.Unmarshal([]byte(fields[2]), data); err != nil {
		t.Fatalf("%s: %v in %q", h.code, err, line)
	}
	subject := fields[1]
	if !typ.Subscriber {
		subject += "/" + h.code
	}
	h.subjects[subject] = true
	e := &event.Event{
		ID: fmt.Sprintf("%s %d", h.code, len(h.events)+1), Source: "billing", Type: typ.Name, Tenant: "mobile", Subject: subject,
		Time: time.Now().UTC().Truncate(time.Millisecond).Add(-ago), Data: data,
	}
	return e.Proto()
}

// sendHistories sends all of them, and behind the events of each subject that has an order a marker: when it came, all before it
// was worked.
func sendHistories(t *testing.T, ctx context.Context, f *fleet.Fleet, ingest *fleet.Member, all map[string]*history) (markers int) {
	t.Helper()
	var byProducers, bySafeguard []*eventv1.Event
	for _, code := range slices.Sorted(maps.Keys(all)) {
		h := all[code]
		marks := map[string]string{}
		for _, e := range h.events {
			switch typ, _ := event.Lookup(e.GetType()); {
			case typ.Entity == "safeguard":
				bySafeguard = append(bySafeguard, e)
				marks[e.GetSubject()] = "safeguard.late"
			case typ.Queue == event.Unordered:
				byProducers = append(byProducers, e)
			default:
				byProducers = append(byProducers, e)
				marks[e.GetSubject()] = "account.updated"
			}
		}
		markers += len(marks)
		for subject, kind := range marks {
			typ, _ := event.Lookup(kind)
			e := (&event.Event{ID: "marker " + subject, Source: "billing", Type: kind, Tenant: "mobile", Subject: subject, Time: time.Now(), Data: typ.Data}).Proto()
			if typ.Entity == "safeguard" {
				bySafeguard = append(bySafeguard, e)
			} else {
				byProducers = append(byProducers, e)
			}
		}
	}
	conn, err := f.Dial(ingest.Address("grpc"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := ingestv1.NewIngestServiceClient(conn).PublishBatch(ctx, &ingestv1.PublishBatchRequest{Events: byProducers})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range answer.GetResults() {
		if r.GetError() != nil {
			t.Fatalf("%s is refused: %v", byProducers[i].GetId(), r.GetError())
		}
	}
	var records []stream.Record
	for _, sent := range bySafeguard {
		e := &event.Event{
			ID: sent.GetId(), Source: "tollgate/safeguard", Type: sent.GetType(), Tenant: sent.GetTenant(), Subject: sent.GetSubject(), Time: sent.GetTime().AsTime(),
			ReceivedAt: time.Now().UTC().Truncate(time.Millisecond), Data: dataOf(t, sent.GetData()),
		}
		r, err := e.Record(f.Client.Topic(stream.Safeguards))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	produceAs(t, ctx, f, "safeguard", records)
	return markers
}

func dataOf(t *testing.T, data *anypb.Any) proto.Message {
	t.Helper()
	m, err := data.UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// plannedBy counts all deliveries that were planned, by notification, action and subject.
func plannedBy(t *testing.T, ctx context.Context, f *fleet.Fleet) map[string]int {
	t.Helper()
	client, err := f.Kafka("auditor")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	count := map[string]int{}
	for _, c := range table.Channels.Served() {
		seen := map[string]bool{} // a delivery that is planned again has the same id
		for _, r := range streamtest.Await(ctx, t, client, c.Topic, func([]stream.Record) bool { return true }) {
			d, err := delivery.Decode(r)
			if err != nil {
				t.Fatal(err)
			}
			if !seen[d.ID] {
				seen[d.ID] = true
				count[d.Notification+"/"+d.Action+" "+d.Event.Subject]++
			}
		}
	}
	return count
}

// cancelled are the events whose timers the notification of their history has cancelled.
func cancelled(t *testing.T, ctx context.Context, f *fleet.Fleet) (events []string) {
	t.Helper()
	client, err := f.Kafka("auditor")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, r := range streamtest.Await(ctx, t, client, stream.TriggersDecisions, func([]stream.Record) bool { return true }) {
		var d triggerv1.Decision
		if err := proto.Unmarshal(r.Value, &d); err != nil {
			t.Fatal(err)
		}
		if id := d.GetEvent().GetId(); d.GetReason() == triggerv1.Decision_REASON_CANCELLED && strings.HasPrefix(id, d.GetNotification()+" ") {
			events = append(events, id)
		}
	}
	slices.Sort(events)
	return slices.Compact(events)
}

// compare asks that the history's notification sent what it must, and nothing else.
func (h *history) compare(t *testing.T, webhooks []webhook, letters []letter, planned map[string]int) {
	t.Helper()
	var hooks []string
	for _, w := range webhooks {
		if w.Notification == h.code && h.subjects[w.Subject] {
			hooks = append(hooks, w.Parameters["message"])
		}
	}
	if want := slices.Sorted(slices.Values(h.hooks)); !slices.Equal(slices.Sorted(slices.Values(hooks)), want) {
		t.Errorf("%s: webhooks %q; want %q", h.code, hooks, h.hooks)
	}
	came := map[letter]int{}
	for _, l := range letters {
		came[l]++
	}
	want := map[letter]int{}
	for _, l := range h.letters {
		want[l]++
	}
	for l, n := range want {
		newest := l == h.letters[len(h.letters)-1]
		if came[l] < n && (h.code != collapses || newest && came[l] == 0) {
			t.Errorf("%s: %d letters %+v came; want %d", h.code, came[l], l, n)
		}
	}
	byAction := map[string]int{}
	for subject := range h.subjects {
		for _, action := range []string{"billing", "customer"} {
			byAction[action] += planned[h.code+"/"+action+" "+subject]
		}
	}
	if byAction["billing"] != len(h.hooks) || byAction["customer"] != len(h.letters) {
		t.Errorf("%s: %d webhooks and %d letters were planned; want %d and %d", h.code, byAction["billing"], byAction["customer"], len(h.hooks), len(h.letters))
	}
}
