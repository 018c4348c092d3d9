package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Incident is a state that needs an operator: /readyz names it with its place, it is logged once and counted in
// tollgate_<service>_incidents_total. As (a part of) the error of a check it makes the service not ready; as a note
// (Note) it does not.
type Incident struct {
	// Code is of a closed set, in UPPER_SNAKE: a label of the metric.
	Code string `json:"code"`
	// Resource is the name of the resource of the configuration that it concerns, where there is one.
	Resource  string `json:"resource,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Detail    string `json:"detail,omitempty"`
}

// Error is one line with all fields.
func (i *Incident) Error() string {
	text := i.Code
	if i.Resource != "" {
		text += " of " + i.Resource
	}
	if i.Topic != "" {
		text += fmt.Sprintf(" at %s/%d offset %d", i.Topic, i.Partition, i.Offset)
	}
	if i.Detail != "" {
		text += ": " + i.Detail
	}
	return text
}

// Health is the content of /readyz: named checks, each passing or failing. A Health without any check is not ready,
// since nothing was checked yet. Safe for concurrent use.
type Health struct {
	mu     sync.Mutex
	checks map[string]func() error
	notes  map[string]func() []*Incident
}

// NewHealth has no checks yet.
func NewHealth() *Health {
	return &Health{checks: map[string]func() error{}, notes: map[string]func() []*Incident{}}
}

// Set sets the result of a check, nil for passing, until the next Set. The error may wrap or join Incidents.
func (h *Health) Set(name string, err error) { h.Check(name, func() error { return err }) }

// Check calls f each second and at each request of /readyz; f must return at once.
func (h *Health) Check(name string, f func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = f
}

// Note calls f, like Check, for incidents that concern single records or resources: the rest of the service works, so
// it stays ready.
func (h *Health) Note(name string, f func() []*Incident) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes[name] = f
}

// Noted calls every note, in the order of their names.
func (h *Health) Noted() []*Incident {
	h.mu.Lock()
	notes := maps.Clone(h.notes)
	h.mu.Unlock()
	var out []*Incident
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		out = append(out, notes[name]()...)
	}
	return out
}

// Remove removes a check whose subject no longer exists, such as a partition that was handed over.
func (h *Health) Remove(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.checks, name)
}

// Failing is one reason why the service is not ready.
type Failing struct {
	Check string `json:"check"`
	Error string `json:"error"`
	// Incidents are those found in the error.
	Incidents []*Incident `json:"incidents,omitempty"`
}

// Failing runs every check; an empty result means ready. Sorted by name.
func (h *Health) Failing() []Failing {
	h.mu.Lock()
	checks := maps.Clone(h.checks)
	h.mu.Unlock()
	if len(checks) == 0 {
		return []Failing{{Check: "start", Error: "nothing has been checked yet"}}
	}
	var failing []Failing
	for name, f := range checks {
		if err := f(); err != nil {
			failing = append(failing, Failing{Check: name, Error: err.Error(), Incidents: incidents(err)})
		}
	}
	slices.SortFunc(failing, func(a, b Failing) int { return cmp.Compare(a.Check, b.Check) })
	return failing
}

// incidents are all incidents in err's tree, in the order of the tree.
func incidents(err error) []*Incident {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*Incident
		for _, e := range joined.Unwrap() {
			out = append(out, incidents(e)...)
		}
		return out
	}
	if in, ok := err.(*Incident); ok { //nolint:errorlint // this is the walk over the tree
		return []*Incident{in}
	}
	if inner := errors.Unwrap(err); inner != nil {
		return incidents(inner)
	}
	return nil
}
