package reply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/hook"
)

// Reply is what a handler decided.
type Reply struct {
	// Forbidden ends the chain.
	Forbidden bool
	// Reason is the handler's own; empty where it gave none.
	Reason string
	// Data is what the next handler gets; the message that was sent where nothing changed.
	Data proto.Message
	// Changes are the fields that differ from what was sent, in the order of their declaration.
	Changes []Change
}

// Rules are what a reply is read by.
type Rules struct {
	// MayChange are the fields that the handler may change; all where it is empty.
	MayChange hook.Paths
	// Check is what is wrong with changed data by its type; nil where nothing is.
	Check func(proto.Message) error
}

// What stands in a reply.
const (
	keyDecision = "decision"
	keyReason   = "reason"
	keyData     = "data"
	keyEvent    = "event"

	allow  = "allow"
	forbid = "forbid"
)

// mark begins a text in UTF-8 that some programs write; it is no part of the JSON.
var mark = []byte("\ufeff")

// HTTP reads the response of a handler that was sent data. The error is a fault of the handler, which its failure policy
// decides; its text names what a person must mend.
func HTTP(status int, body []byte, sent proto.Message, by Rules) (Reply, error) {
	switch {
	case status >= 200 && status <= 299:
		return read(body, sent, by)
	case status == http.StatusForbidden || status == http.StatusConflict || status == http.StatusUnprocessableEntity:
		return refusal(status, body, sent)
	}
	return Reply{}, fmt.Errorf("the status is %d; a decision comes with 2xx, or with 403, 409 or 422 and a reason", status)
}

// Script reads what a handler wrote to its standard output.
func Script(output []byte, sent proto.Message, by Rules) (Reply, error) {
	return read(output, sent, by)
}

// read is the order in which a reply is read: nothing at all, a decision, data.
func read(body []byte, sent proto.Message, by Rules) (Reply, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, mark))
	if len(body) == 0 {
		return Reply{Data: sent}, nil
	}
	members, err := object(body)
	if err != nil {
		return Reply{}, err
	}
	data, hasData := members[keyData]
	_, decides := members[keyDecision]
	switch {
	case decides && only(members, keyDecision, keyReason, keyData):
		return decision(members, sent, by)
	case hasData && only(members, keyEvent, keyData):
		return changed(data, sent, by)
	}
	return Reply{}, errors.New(`the reply is neither empty, nor {"decision", "reason", "data"} with a decision, nor {"event", "data"} with data`)
}

func decision(members map[string]json.RawMessage, sent proto.Message, by Rules) (Reply, error) {
	word, err := text(members, keyDecision)
	if err != nil {
		return Reply{}, err
	}
	reason, err := text(members, keyReason)
	if err != nil {
		return Reply{}, err
	}
	switch word {
	case allow:
		data, ok := members[keyData]
		if !ok {
			return Reply{Reason: reason, Data: sent}, nil
		}
		r, err := changed(data, sent, by)
		r.Reason = reason
		return r, err
	case forbid:
		return Reply{Forbidden: true, Reason: reason, Data: sent}, nil
	}
	return Reply{}, fmt.Errorf("decision is %.40q; it must be %q or %q", word, allow, forbid)
}

// refusal reads 403, 409 and 422: only a reason makes one of them the handler's word, for a proxy answers so too.
func refusal(status int, body []byte, sent proto.Message) (Reply, error) {
	members, err := object(bytes.TrimPrefix(body, mark))
	if err != nil {
		return Reply{}, fmt.Errorf("the status is %d, and its body is no refusal: %w", status, err)
	}
	reason, err := text(members, keyReason)
	if err != nil {
		return Reply{}, fmt.Errorf("the status is %d, and its body is no refusal: %w", status, err)
	}
	if strings.TrimSpace(reason) == "" {
		return Reply{}, fmt.Errorf("the status is %d, and its body has no reason, so it is no refusal", status)
	}
	return Reply{Forbidden: true, Reason: reason, Data: sent}, nil
}

func changed(data json.RawMessage, sent proto.Message, by Rules) (Reply, error) {
	patched, err := patch(data, sent)
	if err != nil {
		return Reply{}, err
	}
	changes := Compare(sent, patched)
	if len(changes) == 0 {
		return Reply{Data: sent}, nil
	}
	var faults []error
	for _, c := range changes {
		if !by.MayChange.Allow(c.Path) {
			faults = append(faults, fmt.Errorf("%s is changed, which this handler may not", c.Path))
		}
	}
	if err := bounded(faults); err != nil {
		return Reply{}, err
	}
	if by.Check != nil {
		if err := by.Check(patched); err != nil {
			return Reply{}, fmt.Errorf("the changed data is not valid: %w", err)
		}
	}
	return Reply{Data: patched, Changes: changes}, nil
}

// mostFaults is how many faults of one reply are listed.
const mostFaults = 50

func bounded(faults []error) error {
	if len(faults) > mostFaults {
		faults = append(faults[:mostFaults:mostFaults], fmt.Errorf("and %d more", len(faults)-mostFaults))
	}
	return errors.Join(faults...)
}

// object reads a JSON object that has one meaning only: no name twice, nothing that is not UTF-8.
func object(body []byte) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := event.ReadJSON(body, &members); err != nil {
		return nil, fmt.Errorf("the reply is no JSON object: %w", err)
	}
	if members == nil {
		return nil, errors.New("the reply is null, not a JSON object")
	}
	return members, nil
}

// only reports that an object has no members but these.
func only(members map[string]json.RawMessage, names ...string) bool {
	n := 0
	for _, name := range names {
		if _, ok := members[name]; ok {
			n++
		}
	}
	return n == len(members)
}

// text is a member that is a text; empty where it is missing.
func text(members map[string]json.RawMessage, name string) (string, error) {
	raw, ok := members[name]
	if !ok {
		return "", nil
	}
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%s must be a text", name)
	}
	return *s, nil
}
