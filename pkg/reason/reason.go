// Package reason is the one table of the codes that Tollgate returns with a rejection or an outcome: as the reason of
// an error (google.rpc.ErrorInfo, and of each violation), in the header tollgate-reason of a rejected event, in the
// reason of a "safeguard.*" event, of an authorisation or a charge, and as the code of an incident. The reference is
// generated from it; a test checks that the sources use no other code.
package reason

import (
	"fmt"
	"strings"
)

// Where is the set of places in which a reason is used.
type Where uint8

const (
	// Error: of a call, a request or a file.
	Error Where = 1 << iota
	// Rejected: of an event that was accepted and can't be processed.
	Rejected
	// Outcome: of a "safeguard.*" event.
	Outcome
	// Decision: of an authorisation or a charge.
	Decision
	// Incident: of a state that needs an operator.
	Incident
)

// Reason is one code.
type Reason struct {
	Code  string
	Where Where
	// Meaning is half a sentence; where the reader can act, it has how.
	Meaning string
}

// Declared reports whether the table has a code.
func Declared(code string) bool {
	for i := range All {
		if All[i].Code == code {
			return true
		}
	}
	return false
}

// Page is the reference, in Markdown.
func Page() string {
	var b strings.Builder
	b.WriteString(`# Reasons

Every reason that Tollgate gives, in alphabetical order. Programs may branch on a code; messages are for people and change.

- **error**: of a call or a request: ` + "`reason`" + ` of google.rpc.ErrorInfo and of each violation, over HTTP of the problem
- **rejected**: of an event that was accepted and can't be worked: header ` + "`tollgate-reason`" + ` on ` + "`events.rejected`" + `
- **outcome**: why a ` + "`safeguard.*`" + ` event came about
- **decision**: why an authorisation or a charge was decided so
- **incident**: a state of the installation that needs a person, in logs and health

| reason | given as | meaning |
|---|---|---|
`)
	for _, r := range All {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.Code, r.Where, r.Meaning)
	}
	return b.String()
}

// String names the places.
func (w Where) String() string {
	var all []string
	for _, p := range []struct {
		Where
		name string
	}{{Error, "error"}, {Rejected, "rejected"}, {Outcome, "outcome"}, {Decision, "decision"}, {Incident, "incident"}} {
		if w&p.Where != 0 {
			all = append(all, p.name)
		}
	}
	return strings.Join(all, ", ")
}
