package scenario

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/type/money"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/systemtest/safeguard/model"
)

// The safeguard of the scenario: 50.00 EUR, alert at 80 %.
const (
	limitUnits = 50
	percent    = 80
)

const (
	subscribers = 1_000
	usages      = 100_000
	repeats     = usages * 5 / 100
	bads        = usages * 1 / 100
)

// transport is how an event comes in.
type transport int

const (
	byKafka transport = iota
	byGRPC
	byHTTP
)

// transportOf gives each subscriber one transport, since order is kept within one and not between them: of a hundred, four come
// by HTTP and six by gRPC.
func transportOf(subscriber int) transport {
	switch n := subscriber % 100; {
	case n < 4:
		return byHTTP
	case n < 10:
		return byGRPC
	}
	return byKafka
}

// item is one event that is sent, or something that is none.
type item struct {
	transport transport
	event     *eventv1.Event
	// raw is sent in place of the event.
	raw []byte
	// refused is the reason for which ingest refuses it, rejected that for which safeguard rejects it.
	refused, rejected string
}

// traffic is everything that is sent, in order, and what must come of it.
type traffic struct {
	activations []item
	items       []item
}

func msisdn(subscriber int) string { return fmt.Sprintf("4479%08d", subscriber) }

// draw makes up traffic from a seed. Events lie within the hour before now.
func draw(t testing.TB, seed uint64, now time.Time) *traffic {
	t.Helper()
	d := &drawing{
		TB: t, rand: rand.New(rand.NewPCG(seed, 1)), start: now.Add(-time.Hour).Truncate(time.Second),
		made: make([][]charged, subscribers), spent: make([]int64, subscribers), traffic: &traffic{},
	}
	for s := range subscribers {
		id := fmt.Sprintf("activation-%d", s)
		data := &eventv1.SubscriberActivated{ClassOfService: "roamer", Imsi: fmt.Sprintf("23430%010d", s), Language: "de"}
		d.activations = append(d.activations, item{transport: transportOf(s), event: d.event(id, "subscriber.activated", msisdn(s), data)})
	}
	// Every kind of item in one deck, which is shuffled.
	deck := make([]int, usages)
	for i := range deck {
		switch {
		case i < repeats:
			deck[i] = 1
		case i < repeats+bads:
			deck[i] = 2
		}
	}
	d.rand.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	bad := 0
	for i, kind := range deck {
		s := d.rand.IntN(subscribers)
		switch {
		case kind == 1 && len(d.made[s]) > 0:
			before := d.made[s][d.rand.IntN(len(d.made[s]))]
			d.items = append(d.items, item{transport: transportOf(s), event: before.event})
		case kind == 2:
			d.items = append(d.items, d.bad(i, bad, s))
			bad++
		default:
			d.usage(i, s)
		}
	}
	return d.traffic
}

// charged is usage that was sent.
type charged struct {
	event    *eventv1.Event
	amount   int64
	refunded bool
}

type drawing struct {
	testing.TB
	*traffic
	rand  *rand.Rand
	start time.Time
	count int
	made  [][]charged
	// spent is what each subscriber's good usage comes to, so that an amount can be drawn that is too much on top of it.
	spent []int64
}

func (d *drawing) event(id, kind, subject string, data proto.Message) *eventv1.Event {
	d.Helper()
	packed, err := anypb.New(data)
	if err != nil {
		d.Fatal(err)
	}
	d.count++
	return &eventv1.Event{
		Id: id, Source: "mediation", Type: kind, Tenant: "acme", Subject: subject,
		Time: timestamppb.New(d.start.Add(time.Duration(d.count) * 20 * time.Millisecond)), Data: packed,
	}
}

func euro(nanos int64) *money.Money {
	return &money.Money{CurrencyCode: "EUR", Units: nanos / model.Unit, Nanos: int32(nanos % model.Unit)}
}

// usage draws a good event and adds it up.
func (d *drawing) usage(i, s int) {
	// A third of them stay well below the alert, a third come near the limit, a third go past it.
	mean := []int64{model.Unit * 20 / 94, model.Unit * 45 / 94, model.Unit * 70 / 94}[s%3]
	id := fmt.Sprintf("usage-%d", i)
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Quantity: int64(i), Unit: "byte", VisitedCountry: "FR"}
	counts := true
	amount := d.rand.Int64N(2*mean) + 1
	switch n := d.rand.IntN(100); {
	case n < 3: // what was used at home
		u.Roaming, u.VisitedCountry, counts = false, "", false
	case n < 5:
		u.Category, counts = eventv1.UsageCharged_CATEGORY_VOICE, false
	case n < 6: // what was barred
		u.Blocked, counts = true, false
	case n < 7 && len(d.made[s]) > 0:
		if c := &d.made[s][d.rand.IntN(len(d.made[s]))]; !c.refunded && c.amount > 0 {
			c.refunded = true
			u.Net = euro(-c.amount)
			u.Corrects = &eventv1.Correction{Id: c.event.GetId(), Time: c.event.GetTime()}
			d.send(s, charged{event: d.event(id, "usage.charged", msisdn(s), u)})
			d.spent[s] -= c.amount
			return
		}
	}
	u.Net = euro(amount)
	e := d.event(id, "usage.charged", msisdn(s), u)
	if !counts {
		d.send(s, charged{event: e})
		return
	}
	d.send(s, charged{event: e, amount: amount})
	d.spent[s] += amount
}

func (d *drawing) send(s int, c charged) {
	d.made[s] = append(d.made[s], c)
	d.items = append(d.items, item{transport: transportOf(s), event: c.event})
}

// bad draws the n-th bad item, one kind after the other; the largest only now and then.
func (d *drawing) bad(i, n, s int) item {
	id := fmt.Sprintf("bad-%d", i)
	u := &eventv1.UsageCharged{Category: eventv1.UsageCharged_CATEGORY_DATA, Roaming: true, Net: euro(model.Unit), Service: id}
	it := item{transport: []transport{byKafka, byKafka, byKafka, byGRPC, byHTTP}[n%5]}
	for transportOf(s) != it.transport { // what is too much is so in the order of the subscriber's events alone
		s = d.rand.IntN(subscribers)
	}
	make := func(kind, subject string) *eventv1.Event { return d.event(id, kind, subject, u) }
	switch kind := n / 5 % 9; {
	case n < 15: // three by Kafka alone would not test every transport
		u.Service = randomText(d.rand, 1<<20)
		it.event, it.refused = make("usage.charged", msisdn(s)), "TOO_LARGE"
	case kind == 0:
		it.raw, it.refused = []byte(fmt.Sprintf("\xff\xfe{%q", id)), "UNDECODABLE"
		if it.transport == byGRPC { // where an event can't but be one, its data is undecodable
			it.event, it.raw = make("usage.charged", msisdn(s)), nil
			it.event.Data.Value = []byte{0xff, 0xff}
		}
	case kind == 1:
		it.event, it.refused = make("usage.guessed", msisdn(s)), "UNKNOWN_TYPE"
	case kind == 2:
		it.event, it.refused = make("usage.charged", ""), "EVENT_INVALID"
	case kind == 3:
		it.event, it.refused = make("usage.charged", msisdn(s)), "EVENT_INVALID"
		it.event.Time = nil
	case kind == 4:
		u.Net = &money.Money{CurrencyCode: "EUR", Units: math.MaxInt64}
		it.event, it.refused = make("usage.charged", msisdn(s)), "AMOUNT_INVALID"
	case kind == 5:
		u.Net.CurrencyCode = "GBP"
		it.event, it.rejected = make("usage.charged", msisdn(s)), "CURRENCY_MISMATCH"
	case kind == 6:
		it.event, it.rejected = make("usage.charged", fmt.Sprintf("4999%08d", n)), "SUBSCRIBER_UNKNOWN"
	case kind == 7:
		u.Net = nil
		it.event, it.rejected = make("usage.charged", msisdn(s)), "AMOUNT_MISSING"
	case kind == 8: // more than can be counted on top of what is spent
		u.Net = euro(math.MaxInt64)
		if d.spent[s] == 0 {
			u.Net = euro(-model.Unit) // nothing is spent: a refund without what it corrects
			it.event, it.rejected = make("usage.charged", msisdn(s)), "CORRECTS_MISSING"
			break
		}
		it.event, it.rejected = make("usage.charged", msisdn(s)), "AMOUNT_INVALID"
	}
	return it
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// cloudEvent is an event in CloudEvents' JSON, as a producer writes it.
func cloudEvent(t testing.TB, e *eventv1.Event) []byte {
	t.Helper()
	fields := map[string]any{"specversion": "1.0", "id": e.GetId(), "source": e.GetSource(), "type": e.GetType(), "tenant": e.GetTenant(), "datacontenttype": "application/json", "data": dataJSON(t, e)}
	if e.GetSubject() != "" {
		fields["subject"] = e.GetSubject()
	}
	if e.GetTime() != nil {
		fields["time"] = e.GetTime().AsTime().Format(time.RFC3339Nano)
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func dataJSON(t testing.TB, e *eventv1.Event) json.RawMessage {
	t.Helper()
	m, err := e.GetData().UnmarshalNew()
	if err != nil {
		t.Fatal(err)
	}
	b, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, b); err != nil {
		t.Fatal(err)
	}
	return compact.Bytes()
}
