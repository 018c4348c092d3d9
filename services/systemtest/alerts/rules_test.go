package alerts

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"go.yaml.in/yaml/v3"
)

const (
	root = "../../../"
	// every is the interval of scrapes and evaluations, of deploy/prometheus/prometheus.yml.
	every = 15 * time.Second
	// nameLabel holds a metric's name.
	nameLabel = "__name__"
)

// rule is one alert of deploy/prometheus/alerts.yml.
type rule struct {
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         time.Duration     `yaml:"for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

// strictly reads a YAML file in which every key must be known.
func strictly(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		} `yaml:"groups"`
	}
	strictly(t, root+"deploy/prometheus/alerts.yml", &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("%d rules were read", len(all))
	}
	return all
}

// sample is one value of a series.
type sample struct {
	at    int64
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// recorded are series, held as Prometheus would have scraped them.
type recorded map[string]*series

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

func (r recorded) add(l labels.Labels, at time.Duration, value float64) {
	s := r[l.String()]
	if s == nil {
		s = &series{labels: l}
		r[l.String()] = s
	}
	s.samples = append(s.samples, sample{at.Milliseconds(), value})
}

// Querier makes r a storage.Queryable.
func (r recorded) Querier(_, _ int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		var found []storage.Series
		for _, s := range r {
			matches := true
			for _, m := range matchers {
				matches = matches && m.Matches(s.labels.Get(m.Name))
			}
			if matches {
				found = append(found, storage.NewListSeries(s.labels, s.samples))
			}
		}
		return &set{all: found}
	}}, nil
}

// set is what a query selects.
type set struct {
	all []storage.Series
	at  int
}

// evaluator evaluates rules as Prometheus does.
type evaluator struct{ engine *promql.Engine }

func newEvaluator() evaluator {
	return evaluator{promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})}
}

// firing are the labels with which a rule fires at a moment: of what its expression had at every evaluation for as long as the rule
// demands. Where the time that the rule demands is left out, at that moment alone.
func (e evaluator) firing(t *testing.T, r rule, over storage.Queryable, at time.Duration, demand bool) map[string]bool {
	t.Helper()
	var held map[string]bool
	from := at
	if demand {
		from -= r.For
	}
	for now := from; now <= at; now += every {
		q, err := e.engine.NewInstantQuery(t.Context(), over, nil, r.Expr, time.UnixMilli(now.Milliseconds()))
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		vector, err := q.Exec(t.Context()).Vector()
		if err != nil {
			t.Fatalf("%s: %v", r.Alert, err)
		}
		is := map[string]bool{}
		for _, one := range vector {
			text := one.Metric.DropReserved(func(name string) bool { return name == nameLabel }).String()
			is[text] = held == nil || held[text]
		}
		q.Close()
		held = is
	}
	for text, all := range held {
		if !all {
			delete(held, text)
		}
	}
	return held
}

func (s *set) Next() bool         { s.at++; return s.at <= len(s.all) }
func (s *set) At() storage.Series { return s.all[s.at-1] }
func (*set) Err() error           { return nil }

func (*set) Warnings() annotations.Annotations { return nil }

// read adds a series in the notation of Prometheus, such as `up{job="x"} 0x10`, with one value each interval.
func (r recorded) read(line string) error {
	l, values, err := parser.NewParser(parser.Options{}).ParseSeriesDesc(line)
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	for i, v := range values {
		if !v.Omitted {
			r.add(l, time.Duration(i)*every, v.Value)
		}
	}
	return nil
}
