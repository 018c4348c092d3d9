package scenario

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// Paths of the receiver: one for every outcome of safeguards, which always answers 200, and one for what matters, which
// fails at first.
const (
	pathTable  = "/table"
	pathLimits = "/limits"
)

// failures is how many webhooks the second path answers with 500, each once: every third, since ten in a row open the circuit
// of the endpoint, and the others then wait for its probes.
const failures = 50

// receipt is one webhook, at its first arrival.
type receipt struct {
	Delivery, Previous string
	DeliverySequence   int64
	Outcome            string // the event's id
	Kind, Subject      string
	Sequence           int64
	Spent              int64
	Blocked            bool
	answered           bool // with 2xx
}

// inbox is what a receiver keeps.
type inbox struct {
	verify func(http.Header, []byte) error

	mu       sync.Mutex
	problems []string
	failed   int
	// limits counts first arrivals on the second path.
	limits int
	// byKey are first receipts by path and subject, in the order of their arrival; seen by path and delivery.
	byKey map[string][]*receipt
	seen  map[string]*receipt
	// tables are the rows that the receiver keeps by sequence, by path and subject.
	tables   map[string]receipt
	answered map[string]int // by path, deliveries that were answered with 2xx
}

func newInbox() *inbox {
	return &inbox{byKey: map[string][]*receipt{}, seen: map[string]*receipt{}, tables: map[string]receipt{}, answered: map[string]int{}}
}

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender went away
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.verify(r.Header, body); err != nil {
		in.problems = append(in.problems, err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	got, err := read(r.Header, body)
	if err != nil {
		in.problems = append(in.problems, fmt.Sprintf("%v in %s", err, body))
	}
	path := r.URL.Path
	first := in.seen[path+got.Delivery]
	switch {
	case first == nil:
		first = &got
		in.seen[path+got.Delivery] = first
		in.byKey[path+"/"+got.Subject] = append(in.byKey[path+"/"+got.Subject], first)
	case first.Outcome != got.Outcome || first.DeliverySequence != got.DeliverySequence || first.Previous != got.Previous || first.Sequence != got.Sequence:
		in.problems = append(in.problems, fmt.Sprintf("delivery %s came again with other contents", got.Delivery))
	}
	if path == pathLimits && first == &got {
		in.limits++
	}
	if path == pathLimits && in.failed < failures && first == &got && in.limits%3 == 0 {
		in.failed++
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if !first.answered {
		first.answered = true
		in.answered[path]++
	}
	if row := path + "/" + got.Subject; got.Sequence > in.tables[row].Sequence {
		in.tables[row] = got
	}
	w.WriteHeader(http.StatusNoContent)
}

// read reads a webhook of the payload profile tollgate.
func read(h http.Header, content []byte) (receipt, error) {
	var body struct {
		ID, Type, Subject, Sequence, Previous string
		Data                                  struct {
			Sequence string
			Blocked  bool
			Spent    struct {
				Units string
				Nanos int64
			}
		}
	}
	if err := json.Unmarshal(content, &body); err != nil {
		return receipt{}, err
	}
	number := func(s string) int64 {
		if s == "" {
			return 0
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	got := receipt{
		Delivery: h.Get("webhook-id"), Previous: body.Previous, DeliverySequence: number(body.Sequence),
		Outcome: body.ID, Kind: body.Type, Subject: body.Subject, Sequence: number(body.Data.Sequence),
		Spent: number(body.Data.Spent.Units)*model.Unit + body.Data.Spent.Nanos, Blocked: body.Data.Blocked,
	}
	// The number, and in the body a text that is orderable as one.
	if number(h.Get("tollgate-sequence")) != got.DeliverySequence || len(body.Sequence) != 19 || h.Get("tollgate-previous") != body.Previous {
		return got, fmt.Errorf("headers have %s after %q", h.Get("tollgate-sequence"), h.Get("tollgate-previous"))
	}
	return got, nil
}

func (in *inbox) count(path string) int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.answered[path]
}

// hasProblems reports that something came that must not: there is no need to wait for the rest.
func (in *inbox) hasProblems() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.problems) > 0
}
