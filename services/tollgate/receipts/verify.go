package receipts

import (
	"cmp"
	"slices"
	"time"

	deliveries "github.com/tollgate/tollgate/pkg/delivery"
)

// Report is what the comparison found.
type Report struct {
	Receipts int `json:"receipts"`
	// Received are different deliveries among the receipts.
	Received int `json:"received"`
	// Lost deliveries were answered 2xx within the time of the log, and the log does not have them.
	Lost []Finding `json:"lost"`
	// Gaps are ordered deliveries that the receiver does not have, before one that it has, by the settlement that explains
	// them.
	Gaps map[string]int `json:"gaps"`
	// Unexplained gaps are neither in the log nor settled in the export.
	Unexplained []Finding `json:"unexplained_gaps"`
	// OutOfOrder deliveries were received first after a later one of their order.
	OutOfOrder []Finding `json:"out_of_order"`
	// Differing receipts name another sequence or previous than the attempts.
	Differing []Finding `json:"differing"`
	// Unrecorded receipts are of deliveries without an attempt in the export.
	Unrecorded []Finding `json:"unrecorded"`
	Repeats    Repeats   `json:"repeats"`
	// Waiting deliveries are not settled and not received. Outside were answered before or after the time of the log, or are
	// of events from before the export.
	Waiting int `json:"waiting"`
	Outside int `json:"outside"`
}

// Repeats are receipts of a delivery beyond its first.
type Repeats struct {
	// Attempts explain a repeat by a further attempt, or by one that shows that its request was repeated.
	Attempts int `json:"by_attempts"`
	// InFlight repeats have no attempt: what was under way when a process was killed is sent again and not recorded.
	InFlight int `json:"in_flight"`
}

// Finding is a delivery that something is wrong with.
type Finding struct {
	ID       string `json:"id"`
	Endpoint string `json:"endpoint,omitempty"`
	Sequence int64  `json:"sequence,omitempty"`
	Detail   string `json:"detail"`
}

// OK reports that every delivery is accounted for, and in order.
func (r *Report) OK() bool {
	return len(r.Lost)+len(r.Unexplained)+len(r.OutOfOrder)+len(r.Differing)+len(r.Unrecorded) == 0
}

// edge is how far from the first and last receipt an answer still counts as within the time of the log: clocks differ.
const edge = time.Minute

// Verifier compares. Take the attempts first, then Verify the receipts.
type Verifier struct {
	deliveries map[string]*delivery
	begin      time.Time // of the export: the earliest record
}

// delivery is what the attempts hold of one.
type delivery struct {
	id, endpoint, previous string
	sequence               int64
	// requests is how many the receiver may have, as recorded.
	requests   int
	settlement string
	reason     string
	answered   time.Time // of the attempt that was answered 2xx
	receipts   int
	position   int // of the first receipt
}

// NewVerifier returns one without attempts.
func NewVerifier() *Verifier { return &Verifier{deliveries: map[string]*delivery{}} }

// Take adds an attempt; their order does not matter.
func (v *Verifier) Take(a Attempt) {
	if v.begin.IsZero() || a.Recorded.Before(v.begin) {
		v.begin = a.Recorded
	}
	d := v.deliveries[a.Delivery]
	if d == nil {
		d = &delivery{id: a.Delivery, endpoint: a.Endpoint, position: -1}
		v.deliveries[a.Delivery] = d
	}
	if a.Sequence > 0 {
		d.sequence, d.previous = a.Sequence, a.Previous
	}
	if a.Number > 0 {
		d.requests++
		if a.RepeatedRequest {
			d.requests++
		}
	}
	// A replay may settle a delivery again; one that was received stays so.
	if a.Settlement != "" && d.settlement != "delivered" {
		d.settlement, d.reason = a.Settlement, a.Reason
		if a.Settlement == "delivered" {
			d.answered = a.Recorded
			if a.Answered != nil {
				d.answered = *a.Answered
			}
		}
	}
}

// Verify compares the receipts with the attempts of the endpoints that they are of.
func (v *Verifier) Verify(receipts []Receipt) Report {
	r := Report{Receipts: len(receipts), Gaps: map[string]int{}}
	if len(receipts) == 0 {
		return r
	}
	endpoints := v.receive(receipts, &r)
	first, last := receipts[0].ReceivedAt, receipts[0].ReceivedAt
	for _, x := range receipts {
		if x.ReceivedAt.Before(first) {
			first = x.ReceivedAt
		}
		if x.ReceivedAt.After(last) {
			last = x.ReceivedAt
		}
	}
	first, last = first.Add(-edge), last.Add(edge)
	for _, d := range v.sorted(endpoints) {
		switch {
		case d.receipts > 0:
			r.Received++
			v.order(d, first, &r)
		case d.settlement == "":
			r.Waiting++
		case d.settlement != "delivered":
		case d.answered.Before(first) || d.answered.After(last):
			r.Outside++
		default:
			r.Lost = append(r.Lost, d.finding("answered 2xx at "+d.answered.UTC().Format(time.RFC3339Nano)+", and not in the log"))
		}
	}
	return r
}

// receive notes the receipts, and returns the endpoints they are of.
func (v *Verifier) receive(receipts []Receipt, r *Report) map[string]bool {
	endpoints, unrecorded := map[string]bool{}, map[string]bool{}
	for i, x := range receipts {
		d := v.deliveries[x.ID]
		if d == nil {
			if !unrecorded[x.ID] {
				r.Unrecorded = append(r.Unrecorded, Finding{ID: x.ID, Sequence: int64(x.Sequence), Detail: "received, and no attempt is in the export"})
			}
			unrecorded[x.ID] = true
			continue
		}
		endpoints[d.endpoint] = true
		if x.Sequence > 0 && int64(x.Sequence) != d.sequence || x.Previous != "" && x.Previous != d.previous {
			r.Differing = append(r.Differing, d.finding("the log has another sequence or previous"))
		}
		if d.receipts++; d.receipts == 1 {
			d.position = i
			continue
		}
		if d.receipts <= d.requests {
			r.Repeats.Attempts++
		} else {
			r.Repeats.InFlight++
		}
	}
	return endpoints
}

// sorted are the deliveries to some endpoints, by id, which is by time.
func (v *Verifier) sorted(endpoints map[string]bool) []*delivery {
	var all []*delivery
	for _, d := range v.deliveries {
		if endpoints[d.endpoint] {
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *delivery) int { return cmp.Compare(a.id, b.id) })
	return all
}

// order walks back from a received delivery to the one received before it in its order. Each delivery that was not
// received is passed once: only one follows it.
func (v *Verifier) order(d *delivery, begin time.Time, r *Report) {
	for id := d.previous; id != ""; {
		p := v.deliveries[id]
		switch {
		case p == nil && planned(id).Before(v.begin):
			r.Outside++
			return
		case p == nil:
			r.Unexplained = append(r.Unexplained, Finding{ID: id, Endpoint: d.endpoint, Detail: "before " + d.id + ", neither in the log nor in the export"})
			return
		case p.receipts > 0:
			if p.position > d.position {
				r.OutOfOrder = append(r.OutOfOrder, d.finding("received before "+p.id+", which stands before it"))
			}
			return
		case p.settlement == "":
			r.Unexplained = append(r.Unexplained, p.finding("not settled, and "+d.id+" behind it was received"))
			return
		case p.settlement != "delivered":
			r.Gaps[reasonOf(p)]++
		case p.answered.Before(begin):
			return // the log begins behind it
		}
		id = p.previous
	}
}

// planned is the time in a delivery's id: of its event, or of the timer that fired. It is zero where the id has none.
func planned(id string) time.Time {
	t, _ := deliveries.TimeOf(id)
	return t
}

func reasonOf(d *delivery) string {
	if d.reason == "" {
		return d.settlement
	}
	return d.settlement + " (" + d.reason + ")"
}

func (d *delivery) finding(detail string) Finding {
	return Finding{ID: d.id, Endpoint: d.endpoint, Sequence: d.sequence, Detail: detail}
}
