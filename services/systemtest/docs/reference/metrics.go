package reference

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/tollgate/tollgate/services/tollgate/allinone"
)

// errNoKind is of vectors that have no value yet.
var errNoKind = errors.New("no value yet")

// described is a metric as its collector describes it.
type described struct {
	name, help string
	labels     []string
	kind       string
	services   []string
}

// Metrics is the page of the metrics: it starts every service in one process and asks their registries.
func Metrics(ctx context.Context, _ string) (page string, err error) {
	dir, err := os.MkdirTemp("", "tollgate-docs-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	key := filepath.Join(dir, "api-key")
	if err := os.WriteFile(key, []byte("tg_of-the-reference\n"), 0o600); err != nil {
		return "", err
	}
	i, err := allinone.Open(ctx, allinone.Config{
		Dir: dir, KeyFile: key, AnyPort: true, Log: func(string) (io.Writer, error) { return io.Discard, nil },
	})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	if err := i.Work(ctx); err != nil {
		return "", err
	}
	for _, s := range i.Services() {
		// A service has registered what it measures once it listens.
		if _, err := s.Address(ctx, "grpc"); err != nil {
			return "", err
		}
	}
	// A vector has a kind once it has a value: partitions are claimed and the configuration is read shortly after a start.
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		metrics, err := gather(i)
		if err == nil {
			return metricsPage(metrics, len(i.Services())), nil
		}
		if !errors.Is(err, errNoKind) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w: give the metric a value at the start, or name its kind in package reference", err)
		case <-again.C:
		}
	}
}

// unvalued are the kinds of vectors that have no value in an installation without a configuration.
var unvalued = map[string]string{
	"tollgate_<service>_configuration_load_seconds": "histogram",
	"tollgate_<service>_handler_seconds":            "histogram",
}

// patience is how long metrics may take to have values.
const patience = 20 * time.Second

// gather describes the metrics of all services. The error is errNoKind where one has no kind yet.
func gather(i *allinone.Installation) (map[string]*described, error) {
	metrics := map[string]*described{}
	for _, s := range i.Services() {
		if err := describe(s.Name, s.Metrics(), metrics); err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", s.Name, err)
		}
	}
	var faults []error
	for _, m := range metrics {
		if m.kind == "" {
			m.kind = unvalued[m.name]
		}
		if m.kind == "" {
			faults = append(faults, fmt.Errorf("%s: %w", m.name, errNoKind))
		}
	}
	return metrics, errors.Join(faults...)
}

func metricsPage(metrics map[string]*described, services int) string {
	var b strings.Builder
	head(&b, "Metrics", `
Each service shows its metrics at `+"`/metrics`"+` of its admin listener, in the text format of Prometheus, beside those of the Go runtime and
the process. Labels are closed sets: none names a subscriber or a URL. `+"`handler`"+` is the name of a hook: it is there while the hook is.
`+"`<service>`"+` stands for the name of each service in the last column.
`)
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		m := metrics[name]
		if len(m.services) == 1 {
			m.name = strings.ReplaceAll(m.name, "<service>", m.services[0])
		}
		labels := make([]string, len(m.labels))
		for i, l := range m.labels {
			labels[i] = code(l)
		}
		slices.Sort(m.services)
		of := strings.Join(slices.Compact(m.services), ", ")
		if len(slices.Compact(m.services)) == services {
			of = "all"
		}
		rows = append(rows, []string{code(m.name), m.kind, strings.Join(labels, ", "), plain(m.help), of})
	}
	slices.SortFunc(rows, slices.Compare)
	table(&b, []string{"metric", "kind", "labels", "meaning", "services"}, rows)
	return b.String()
}

// desc reads what a Desc does not show otherwise.
var desc = regexp.MustCompile(`^Desc\{fqName: "(.*)", help: "(.*?)", (?:unit: ".*?", )?constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// describe adds the metrics of one service. The service's name in a metric's name becomes <service>.
func describe(service string, registry *prometheus.Registry, into map[string]*described) error {
	kinds, err := kindsOf(registry)
	if err != nil {
		return err
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		registry.Describe(descs)
		close(descs)
	}()
	var faults []error
	for d := range descs {
		parts := desc.FindStringSubmatch(d.String())
		if parts == nil {
			faults = append(faults, fmt.Errorf("%s cannot be read", d))
			continue
		}
		name := parts[1]
		if !strings.HasPrefix(name, "tollgate_") {
			continue
		}
		var labels []string
		for _, l := range strings.Split(parts[3], ",") {
			if label, _, ok := strings.Cut(l, "="); ok {
				labels = append(labels, label)
			}
		}
		for _, l := range strings.Split(parts[4], ",") {
			if l != "" {
				labels = append(labels, strings.Trim(l, "{}"))
			}
		}
		general := name
		if rest, ok := strings.CutPrefix(name, "tollgate_"+service+"_"); ok {
			general = "tollgate_<service>_" + rest
		}
		kind := kinds[name]
		if kind == "" && strings.HasSuffix(name, "_total") {
			kind = "counter"
		}
		id := general + "\x00" + parts[2]
		if m := into[id]; m != nil {
			m.services = append(m.services, service)
			if m.kind == "" {
				m.kind = kind
			}
			continue
		}
		into[id] = &described{general, unescaped(parts[2]), labels, kind, []string{service}}
	}
	return errors.Join(faults...)
}

func unescaped(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, `\"`, `"`), `\n`, " ")
}

// kindsOf are the kinds of the metrics that have a value by now.
func kindsOf(registry *prometheus.Registry) (map[string]string, error) {
	families, err := registry.Gather()
	if err != nil {
		return nil, err
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = map[dto.MetricType]string{
			dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram", dto.MetricType_SUMMARY: "summary",
		}[f.GetType()]
	}
	return kinds, nil
}
