package manifest_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/outbound"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/rules/kind"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

var update = flag.Bool("update", false, "write the messages of deploy/notifications anew")

const (
	readyFolder = "../../../deploy/notifications"
	casesFolder = "testdata/notifications"
)

// ready is the folder of ready notifications, by its resources.
type ready struct {
	tenant        *configv1.Tenant
	zone          *time.Location
	notifications []*configv1.Notification
	targets       map[string]channel.Planning
}

func readReady(t *testing.T) ready {
	t.Helper()
	documents, err := manifest.Read(readyFolder)
	if err != nil {
		t.Fatal(err)
	}
	out := ready{targets: map[string]channel.Planning{}}
	for _, d := range documents {
		switch r := d.Resource.(type) {
		case *configv1.Tenant:
			out.tenant = r
			if out.zone, err = time.LoadLocation(r.GetTimeZone()); err != nil {
				t.Fatal(err)
			}
		case *configv1.Notification:
			out.notifications = append(out.notifications, r)
			if code := filepath.Base(r.GetName()); filepath.Base(d.File) != code+".yaml" {
				t.Errorf("%s holds the notification %s", d.File, code)
			}
		default:
			var f fault.Violations
			k := table.Channels.KindOf(r)
			if k.Validate(r, outbound.Policy{}, &f); f.Len() > 0 {
				t.Errorf("%s: %v", d.File, f.Err("INVALID"))
			}
			target, faults := k.Decode(r)
			if len(faults) > 0 {
				t.Errorf("%s: %v", d.File, faults)
			}
			out.targets[r.GetName()] = target.Planning()
			if !target.Planning().Draft {
				t.Errorf("%s: is no draft, and its address is an example", d.File)
			}
		}
	}
	return out
}

// A billing engineer finds for each what it is for, and every fault of every file is listed.
func TestReady_NotificationsAreValid(t *testing.T) {
	t.Parallel()
	all := readReady(t)
	readme, err := os.ReadFile(readyFolder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	defaults := all.tenant.GetName() + "/smtpProfiles/" + all.tenant.GetDefaultSmtpProfile()
	for _, n := range all.notifications {
		if err := rules.Validate(n, table.Channels, nil); err != nil {
			t.Errorf("%s: %v", n.GetName(), err)
		}
		if n.GetDisplayName() == "" || n.GetDescription() == "" || !n.GetActive() {
			t.Errorf("%s: must have a name, a description and be active", n.GetName())
		}
		if code := filepath.Base(n.GetName()); !strings.Contains(string(readme), "("+code+".yaml)") {
			t.Errorf("%s is not in README.md", code)
		}
		for _, a := range n.GetActions() {
			target := table.Channels.Target(a)
			if target == "" {
				target = defaults
			}
			if _, ok := all.targets[target]; !ok {
				t.Errorf("%s: action %s: %s is not in the folder", n.GetName(), a.GetName(), target)
			}
		}
	}
}

// Each file of testdata is a history: an event a line, and the time that passes. The messages that it fires stand below it.
func TestReady_NotificationsFireAndRender(t *testing.T) {
	t.Parallel()
	all := readReady(t)
	cases, err := filepath.Glob(casesFolder + "/*.txt")
	if err != nil || len(cases) != len(all.notifications) {
		t.Fatalf("%d histories of %d notifications, %v", len(cases), len(all.notifications), err)
	}
	for _, n := range all.notifications {
		code := filepath.Base(n.GetName())
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(casesFolder, code+".txt")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := rules.Compile(rules.FromProto(n, table.Channels))
			if err != nil {
				t.Fatal(err)
			}
			h := &history{t: t, ready: all, rule: r, index: rules.NewIndex([]*rules.Rule{r}), states: map[stateKey]kind.State{}, now: begin}
			var got strings.Builder
			fired, silent := 0, 0
			for line := range strings.Lines(string(content)) {
				if strings.HasPrefix(line, " ") {
					continue
				}
				messages := h.step(strings.TrimSuffix(line, "\n"))
				if messages == "" {
					silent++
				} else {
					fired++
				}
				got.WriteString(line + messages)
			}
			if fired == 0 || silent == 0 {
				t.Errorf("%d lines fire and %d do not: must be one of each", fired, silent)
			}
			if *update {
				if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(content), got.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// begin is the time of a history's first events.
var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

type stateKey struct{ subject, key string }

// history is a rule with its states, as a dry run has them.
type history struct {
	t      *testing.T
	ready  ready
	rule   *rules.Rule
	index  *rules.Index
	states map[stateKey]kind.State
	now    time.Time
	events int
}

// step takes one line, and returns what it fires.
func (h *history) step(line string) string {
	h.t.Helper()
	if until, ok := strings.CutPrefix(line, "until "); ok {
		at, err := time.Parse(time.RFC3339, until)
		if err != nil {
			h.t.Fatal(err)
		}
		h.now = at
		return h.timers()
	}
	fields := strings.SplitN(line, " ", 3)
	typ, ok := event.Lookup(fields[0])
	if !ok || len(fields) != 3 {
		h.t.Fatalf("%q is no event", line)
	}
	h.events++
	tenant := strings.TrimPrefix(h.ready.tenant.GetName(), "tenants/")
	e := &event.Event{
		ID: fmt.Sprint(h.events), Source: "billing", Type: typ.Name, Tenant: tenant, Subject: fields[1], Time: h.now, ReceivedAt: h.now,
		Data: proto.Clone(typ.Data),
	}
	if err := protojson.Unmarshal([]byte(fields[2]), e.Data); err != nil {
		h.t.Fatalf("%q: %v", line, err)
	}
	var out strings.Builder
	matches, _, _ := h.index.Match(e)
	for _, m := range matches {
		if m.Err != nil {
			h.t.Errorf("%q: %v", line, m.Err)
		}
		if m.Fires {
			out.WriteString(h.messages("", e))
		}
		for _, k := range m.States {
			at := stateKey{e.Subject, k.Key}
			state, result := h.rule.Apply(h.states[at], e, k.Role, rules.At{Now: h.now, Time: h.now, Zone: h.ready.zone})
			h.states[at] = state
			for _, f := range result.Firings {
				out.WriteString(h.messages(f.Name, e))
			}
		}
	}
	return out.String()
}

// timers fires those that are due. Each of these histories has one at a time.
func (h *history) timers() string {
	var out strings.Builder
	for at, state := range h.states {
		due, pending := state.Due()
		for pending && !due.After(h.now) {
			var result kind.Result
			state, result = h.rule.Fire(state, due, h.ready.zone)
			for _, f := range result.Firings {
				e, err := rules.Held(nil, h.rule.Tenant, at.subject, f.Set, f.Event)
				if err != nil {
					h.t.Fatal(err)
				}
				out.WriteString(h.messages(f.Name, e))
			}
			due, pending = state.Due()
		}
		h.states[at] = state
	}
	return out.String()
}

// messages are those of a firing, by action.
func (h *history) messages(firing string, e *event.Event) string {
	h.t.Helper()
	var out strings.Builder
	if firing != "" {
		fmt.Fprintf(&out, "  fires %s\n", firing)
	}
	o := &rules.Occasion{Event: e, Now: h.now, TenantName: h.ready.tenant.GetDisplayName(), Zone: h.ready.zone}
	for _, a := range h.rule.Actions {
		target := a.Target
		if target == "" {
			target = h.ready.tenant.GetName() + "/smtpProfiles/" + h.ready.tenant.GetDefaultSmtpProfile()
		}
		to := h.rule.Recipients(a, o, target)
		if len(to.To) != 1 {
			h.t.Fatalf("action %s has %d recipients, %v", a.Name, len(to.To), to.Why)
		}
		m, err := h.rule.Render(a, o, h.ready.targets[target], to.To[0], channel.Position{})
		if err != nil {
			h.t.Fatal(err)
		}
		if a.Channel == webhook.Channel {
			var body struct {
				Parameters map[string]string `json:"parameters"`
			}
			if err := json.Unmarshal(m.Body, &body); err != nil {
				h.t.Fatal(err)
			}
			fmt.Fprintf(&out, "  %s: %s\n", a.Name, body.Parameters["message"])
			continue
		}
		mail, err := email.ReadPlanned(m.ContentType, m.Body)
		if err != nil {
			h.t.Fatal(err)
		}
		fmt.Fprintf(&out, "  %s, to %s: %s\n", a.Name, to.To[0].Address, mail.Subject)
		for line := range strings.Lines(strings.TrimSpace(mail.Text)) {
			fmt.Fprintf(&out, "    | %s\n", strings.TrimRight(line, "\n"))
		}
	}
	return out.String()
}
