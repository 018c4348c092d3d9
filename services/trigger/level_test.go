package trigger

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/configclient"
	"github.com/tollgate/tollgate/pkg/fold"
	"github.com/tollgate/tollgate/pkg/scope"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

var update = flag.Bool("update", false, "write testdata/level.txt anew")

// expressions are filters, templates and scopes at the edges of what compiles.
func expressions() map[string][]string {
	repeated := func(text string, n int) string { return strings.Repeat(text, n) }
	return map[string][]string{
		"filter": {
			"", "true", "false", "1", "data.net.units > 5", "data.nothing > 5", "subject.startsWith('44')", "subject.matches('^44[0-9]+$')",
			"subject.matches(id)", "subject.matches('a{0,1000}')", "subject.matches('" + repeated("a{0,1000}", 20) + "')", "subject.matches('(')",
			"data.service.matches('(a|b)*c')", "data.roaming && data.category == DATA", "data.category == 'DATA'", "has(data.net)",
			"[1,2,3].all(x, x > 0)", "[1,2,3].all(x, [1,2,3].all(y, [1,2,3].all(z, x + y + z > 0)))", "100 / data.net.units > 0",
			repeated("(", 100) + "true" + repeated(")", 100), repeated("true || ", 1000) + "true", "data.service + data.service == 'x'",
			"timestamp('2026-01-01T00:00:00Z') < time", "size(subject) > 5", "type in ['a', 'b']", "data.net.units in [1, 2]",
		},
		"template": {
			"", "text", "{{.Core.EventId}}", "{{.Nothing}}", "{{range 1000000}}x{{end}}", `{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`,
			"{{if .Usage.Roaming}}abroad{{end}}", "{{.Usage.Service}}", "{{printf \"%s\" .Usage.Service}}", "{{", repeated("{{.Core.EventId}}", 1000),
		},
		"scope": {
			"", "true", "1", "usage.roaming", "usage.colour == 1", "usage.category == DATA && usage.roaming", "usage.service.matches('^premium')",
			"usage.service.matches(usage.unit)", "usage.service.matches('" + repeated("a{0,1000}", 20) + "')", "10 / usage.quantity > 1",
			"usage == UsageCharged{roaming: true}", "[usage].exists(u, u.roaming)", repeated("usage.roaming || ", 400) + "true",
		},
	}
}

// What compiles is part of what a log is folded to: a binary that takes what another refuses decides otherwise at the same
// record. So it changes with the level alone, by which an older binary waits for a newer one.
func TestLevel_RisesWithWhatCompiles(t *testing.T) {
	var lines []string
	add := func(kind, text string, ok bool) {
		if len(text) > 80 {
			text = fmt.Sprintf("%s… (%d)", text[:60], len(text))
		}
		lines = append(lines, fmt.Sprintf("%s\t%t\t%q", kind, ok, text))
	}
	all := expressions()
	for _, kind := range []string{"filter", "template"} {
		for _, text := range all[kind] {
			n := rule("n", []string{"usage.charged"}, "", action("notify", "crm"))
			if kind == "filter" {
				n.Trigger.Filter = text
			} else {
				n.Actions[0].Parameters = []*configv1.Parameter{{Name: "p", Template: text}}
			}
			b := NewBook(configclient.Decode(snapshot(1, func(s *configv1.Snapshot) { s.Notifications = []*configv1.Notification{n} })), nil)
			add(kind, text, len(inactive(func() (*Book, bool) { return b, true })) == 0)
		}
	}
	for _, text := range all["scope"] {
		_, err := scope.Compile(text)
		add("scope", text, err == nil)
	}
	got := fmt.Sprintf("level %d\n%s\n", fold.Level, strings.Join(lines, "\n"))
	const golden = "testdata/level.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	if head := fmt.Sprintf("level %d\n", fold.Level); strings.HasPrefix(string(want), head) {
		was := strings.Split(string(want), "\n")
		for i, line := range strings.Split(got, "\n") {
			if i >= len(was) || was[i] != line {
				t.Errorf("%s: what compiles changed: raise fold.Level, then run with -update", line)
			}
		}
		return
	}
	t.Error("the level has risen: run with -update")
}
