package alerts

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is one row of the reference of metrics, of one service: a pattern of its name, and its labels.
type metric struct {
	name   *regexp.Regexp
	labels []string
}

// services are all that there are, as the reference names them in its last column.
var services = []string{"config", "email", "ingest", "provision", "safeguard", "trigger", "webhook"}

// reference reads deploy/docs/reference/metrics.md, which is generated from the registries of all services.
func reference(t *testing.T) []metric {
	t.Helper()
	text, err := os.ReadFile(root + "deploy/docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []metric
	for _, row := range regexp.MustCompile("(?m)^\\| `(tollgate_[^`]+)` \\| (\\w+) \\| ([^|]*)\\|.*\\| ([a-z, ]+) \\|$").FindAllStringSubmatch(string(text), -1) {
		suffix := ""
		if row[2] == "histogram" {
			suffix = "_(bucket|sum|count)"
		}
		var has []string
		for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(row[3], -1) {
			has = append(has, l[1])
		}
		of := strings.Split(row[4], ", ")
		if row[4] == "all" {
			of = services
		}
		for _, service := range of {
			name := regexp.QuoteMeta(strings.ReplaceAll(row[1], "<service>", service))
			all = append(all, metric{name: regexp.MustCompile("^" + name + suffix + "$"), labels: has})
		}
	}
	if len(all) < 50 {
		t.Fatalf("%d metrics were read", len(all))
	}
	return all
}

// known checks that what an expression selects exists, with every label that it names, and that it can be parsed.
func known(t *testing.T, where, text string, all []metric) {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	usual := []string{nameLabel, "instance", "job", "le"}
	may := slices.Clone(usual)
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok || s.Name == "up" {
			return nil
		}
		found := false
		for _, m := range all {
			if !selects(s, m) {
				continue
			}
			found = true
			may = append(may, m.labels...)
			for _, by := range s.LabelMatchers {
				if by.Type == labels.MatchNotEqual && by.Value == "" {
					continue // of several metrics, those that have the label
				}
				if !slices.Contains(append(slices.Clone(usual), m.labels...), by.Name) {
					t.Errorf("%s: %s has no label %s", where, s, by.Name)
				}
			}
		}
		if !found {
			t.Errorf("%s: there is no metric %s", where, s)
		}
		return nil
	})
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if a, ok := n.(*parser.AggregateExpr); ok {
			for _, by := range a.Grouping {
				if !slices.Contains(may, by) {
					t.Errorf("%s: nothing that it selects has the label %s", where, by)
				}
			}
		}
		return nil
	})
}

// selects reports whether a selector names a metric.
func selects(s *parser.VectorSelector, m metric) bool {
	if s.Name != "" {
		return m.name.MatchString(s.Name)
	}
	for _, by := range s.LabelMatchers {
		if by.Name != nameLabel {
			continue
		}
		return slices.ContainsFunc(services, func(service string) bool {
			return m.name.MatchString(strings.ReplaceAll(by.Value, "[a-z]+", service))
		})
	}
	return false
}

func TestAlerts_NameWhatExists(t *testing.T) {
	all := reference(t)
	page, err := os.ReadFile(root + "deploy/docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, s := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		sections[s[1]] = false
	}
	for _, r := range rules(t) {
		known(t, r.Alert, r.Expr, all)
		if _, there := sections[r.Alert]; !there {
			t.Errorf("deploy/docs/alerts.md has no section on %s", r.Alert)
		}
		sections[r.Alert] = true
		if want := "deploy/docs/alerts.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("%s: runbook is %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity is %q, want page or ticket", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", r.Alert)
		}
	}
	for s, used := range sections {
		if !used {
			t.Errorf("deploy/docs/alerts.md has a section on %s, which is no alert", s)
		}
	}
}

// example is what is recorded for one alert: series with which it fires, and some like them with which it does not.
type example struct {
	Alert string `yaml:"alert"`
	// At is when it is looked at.
	At time.Duration `yaml:"at"`
	// Series are in the notation of Prometheus, a value each 15 s.
	Series []string `yaml:"series"`
	// Fires are the labels with which it fires.
	Fires []string `yaml:"fires"`
	// Calm are series with which it does not.
	Calm []string `yaml:"calm"`
}

func TestAlerts_FireOnRecordedSeries(t *testing.T) {
	var examples []example
	strictly(t, "testdata/alerts.yml", &examples)
	engine, all := newEvaluator(), map[string]rule{}
	for _, r := range rules(t) {
		all[r.Alert] = r
	}
	for _, e := range examples {
		r, there := all[e.Alert]
		if !there {
			t.Errorf("%s is no alert, or has two examples", e.Alert)
			continue
		}
		delete(all, e.Alert)
		t.Run(e.Alert, func(t *testing.T) {
			got := slices.Sorted(maps.Keys(engine.firing(t, r, record(t, e.Series), e.At, true)))
			if want := slices.Sorted(slices.Values(e.Fires)); !slices.Equal(got, want) {
				t.Errorf("fires with %q, want %q", got, want)
			}
			if calm := engine.firing(t, r, record(t, e.Calm), e.At, true); len(calm) > 0 {
				t.Errorf("fires on calm series with %v", calm)
			}
		})
	}
	for alert := range all {
		t.Errorf("testdata/alerts.yml has no example of %s", alert)
	}
}

func record(t *testing.T, lines []string) recorded {
	t.Helper()
	r := recorded{}
	for _, l := range lines {
		if err := r.read(l); err != nil {
			t.Fatal(err)
		}
	}
	return r
}
