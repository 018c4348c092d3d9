package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Incident is a state that needs a person: named with its place by /readyz, logged once and counted in
// tollgate_<service>_incidents_total. As (a part of) the error of a check it makes the service not ready; noted (Note)
// it does not.
type Incident struct {
	// Code is of a closed set, in UPPER_SNAKE: a label of the metric.
	Code string `json:"code"`
	// Resource is the name of what it concerns, where that is a resource of the configuration.
	Resource  string `json:"resource,omitempty"`
	Topic     string `json:"topic,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Detail    string `json:"detail,omitempty"`
}

// Error is one line with everything.
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

// Health is what /readyz tells: named checks, each passing or failing. A Health without any check is not ready, since
// nothing has been looked at yet. Safe for many goroutines.
type Health struct {
	mu     sync.Mutex
	checks map[string]func() error
	notes  map[string]func() []*Incident
}

// NewHealth has no checks yet.
func NewHealth() *Health {
	return &Health{checks: map[string]func() error{}, notes: map[string]func() []*Incident{}}
}

// Set says how the check called name stands, nil for well, until it is said again. The error may wrap or join
// Incidents.
func (h *Health) Set(name string, err error) { h.Check(name, func() error { return err }) }

// Check asks f each second and at each request of /readyz; it must answer at once, from what is known.
func (h *Health) Check(name string, f func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks[name] = f
}

// Note asks f, as Check does, for incidents that concern single records or resources: the rest of the service works, so
// it stays ready.
func (h *Health) Note(name string, f func() []*Incident) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notes[name] = f
}

// Noted asks every note, in the order of their names.
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

// Remove forgets a check: what it looked at is gone for good reason, such as a partition handed over.
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

// Failing asks every check; an empty answer means ready. Sorted by name.
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

// incidents are all in err's tree, in the order of the tree.
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
