// Package figure prints what a benchmark or a soak measured: one JSON object
// a line on standard output.
package figure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Figure is one line.
type Figure struct {
	Name   string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Goal   float64 `json:"goal"`
	Better string  `json:"better"` // "higher" or "lower"
	// On is what it was measured on, read from the servers.
	On   string `json:"on"`
	Note string `json:"note,omitempty"`

	Kills   *int     `json:"kills,omitempty"`
	Events  int64    `json:"events,omitempty"`
	Seconds float64  `json:"seconds,omitempty"`
	Runs    []string `json:"runs,omitempty"`
}

// Print writes figures, one a line.
func Print(w io.Writer, figures ...Figure) error {
	for _, f := range figures {
		var line bytes.Buffer
		e := json.NewEncoder(&line)
		e.SetEscapeHTML(false)
		if err := e.Encode(f); err != nil {
			return fmt.Errorf("print figure %s: %w", f.Name, err)
		}
		if _, err := w.Write(line.Bytes()); err != nil {
			return fmt.Errorf("print figure %s: %w", f.Name, err)
		}
	}
	return nil
}

// Counts are what a soak has counted of what must never happen.
type Counts struct{ Lost, Doubled, OutOfOrder int }

// Counted are the figures of a soak: three of a name, alike in all but what they count.
func Counted(of Figure, c Counts) []Figure {
	name := of.Name
	of.Unit, of.Goal, of.Better = "count", 0, "lower"
	var figures []Figure
	for _, one := range []struct {
		what string
		n    int
	}{{"lost", c.Lost}, {"doubled", c.Doubled}, {"out_of_order", c.OutOfOrder}} {
		of.Name, of.Value = name+one.what, float64(one.n)
		figures = append(figures, of)
	}
	return figures
}

// PrintUnbroken prints the figures of a soak, and is an error where one of them must be 0 and is not.
func PrintUnbroken(figures ...Figure) error {
	if err := Print(os.Stdout, figures...); err != nil {
		return err
	}
	return Broken(figures...)
}

// Broken names the figures that count what must never happen (lost, doubled, out_of_order) and are above 0; nil where
// there is none. A figure that misses its goal is no fault of the run.
func Broken(figures ...Figure) error {
	var broken []string
	for _, f := range figures {
		switch f.Name[strings.LastIndexByte(f.Name, '.')+1:] {
		case "lost", "doubled", "out_of_order":
			if f.Value > 0 {
				broken = append(broken, fmt.Sprintf("%s is %g", f.Name, f.Value))
			}
		}
	}
	if broken == nil {
		return nil
	}
	return fmt.Errorf("must be 0: %s", strings.Join(broken, ", "))
}

// Median of measurements, the lower of the two in the middle.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// Round keeps three significant digits: more would be noise.
func Round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	scale := math.Pow(10, 2-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// On describes the servers whose folders are given, by what they logged when
// they started, and the machine.
func On(redis string, dirs ...string) (string, error) {
	var parts []string
	for _, dir := range dirs {
		log, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			return "", fmt.Errorf("ask what is measured on: %w", err)
		}
		if m := kafkaVersion.FindSubmatch(log); m != nil {
			parts = append(parts, "kafka "+string(m[1]))
		}
	}
	if len(parts) == 0 {
		return "", fmt.Errorf("ask what is measured on: no Kafka in %s", strings.Join(dirs, ", "))
	}
	return fmt.Sprintf("%s, %s, %d cores", strings.Join(parts, ", "), redis, runtime.NumCPU()), nil
}

var kafkaVersion = regexp.MustCompile(`Kafka version: (\S+)`)
