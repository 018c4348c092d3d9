package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answered is a decoded answer of the HTTP door, of a single event or of a batch.
type answered struct {
	Status     int
	Header     http.Header `json:"-"`
	Reason     string
	Violations []violation
	ID         string
	Topic      string
	Results    []struct {
		Status  int
		Receipt *receipt
		Problem *problem
	}
}

func readAnswer(t testing.TB, res *http.Response) answered {
	t.Helper()
	var a answered
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		t.Fatalf("%s: %v", res.Status, err)
	}
	if res.StatusCode >= 400 && (res.Header.Get("Content-Type") != "application/problem+json" || a.Status != res.StatusCode) {
		t.Errorf("%s as %s, in its body %d", res.Status, res.Header.Get("Content-Type"), a.Status)
	}
	a.Status, a.Header = res.StatusCode, res.Header
	return a
}

func TestAnEventComesInByEveryDoor(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		began := time.Now().Add(-time.Second).Truncate(time.Millisecond)

		f.produce(
			stream.Record{Key: []byte("k"), Value: bytesOf(t, usage("kafka-protobuf", "447700900001", 100))},
			stream.Record{Value: structured(t, "kafka-structured", nil), Headers: []stream.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=utf-8")}}},
		)
		published, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: usage("grpc", "447700900001", 100).Proto()})
		if err != nil {
			t.Fatal(err)
		}
		if got := published.GetReceipt(); got.GetId() != "grpc" || got.GetTopic() != f.client.Topic(stream.EventsOrdered) || got.GetReceivedAt() == nil {
			t.Errorf("receipt %v", got)
		}
		batch, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{usage("grpc-batch", "447700900001", 100).Proto()}})
		if err != nil || batch.GetResults()[0].GetReceipt().GetId() != "grpc-batch" {
			t.Fatal(err, batch)
		}
		if a := r.post(structured(t, "http", nil), map[string]string{"Content-Type": "application/cloudevents+json"}); a.Status != 200 || a.ID != "http" {
			t.Errorf("%+v", a)
		}
		if a := r.post([]byte(`{"net":{"currencyCode":"EUR","units":"1"}}`), map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": "http-binary", "ce-source": "crm", "ce-type": "usage.charged",
			"ce-tenant": "acme", "ce-subject": "447700900001", "ce-time": "2026-03-01T10:00:00Z",
		}); a.Status != 200 || a.ID != "http-binary" {
			t.Errorf("%+v", a)
		}
		hook := structured(t, "http-batch-2", map[string]any{"type": "billrun.failed", "subject": nil, "data": map[string]any{}})
		if a := r.post([]byte("["+string(structured(t, "http-batch", nil))+","+string(hook)+"]"), map[string]string{"Content-Type": "application/cloudevents-batch+json"}); a.Status != 200 || len(a.Results) != 2 {
			t.Errorf("%+v", a)
		}

		want := map[string]bool{"kafka-protobuf": true, "kafka-structured": true, "grpc": true, "grpc-batch": true, "http": true, "http-binary": true, "http-batch": true}
		for _, rec := range f.read(stream.EventsOrdered, len(want)) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !want[e.ID] {
				t.Errorf("%q was not sent, or is there twice", e.ID)
			}
			delete(want, e.ID)
			if string(rec.Key) != "acme/447700900001" || !rec.Time.Equal(e.ReceivedAt) || e.ReceivedAt.Before(began) || headersOf(rec)["ce_id"] != e.ID || headersOf(rec)["ce_tenant"] != "acme" {
				t.Errorf("%q: key %q, stamped %v, received %v, headers %v", e.ID, rec.Key, rec.Time, e.ReceivedAt, headersOf(rec))
			}
		}
		if len(want) > 0 {
			t.Errorf("never came: %v", want)
		}
		if rec := f.read(stream.EventsUnordered, 1)[0]; rec.Key != nil || headersOf(rec)["ce_id"] != "http-batch-2" {
			t.Errorf("unordered: key %q, %v", rec.Key, headersOf(rec))
		}
		f.until("it is ready", func() bool { return len(r.env.Health.Failing()) == 0 })
	})
}

// bad are events that no door lets in, as Protobuf; the synchronous doors must say what Kafka's rejected topic says.
func bad() map[string]struct {
	change func(*eventv1.Event)
	reason string
	fields []string
} {
	return map[string]struct {
		change func(*eventv1.Event)
		reason string
		fields []string
	}{
		"an unknown type":            {func(e *eventv1.Event) { e.Type = "weather.changed" }, event.ReasonUnknownType, []string{"type"}},
		"a type that is ours":        {func(e *eventv1.Event) { e.Type = "safeguard.reached" }, event.ReasonInvalid, []string{"type", "data"}},
		"a control record":           {func(e *eventv1.Event) { e.Type = event.TypeTick }, event.ReasonReserved, []string{"type"}},
		"no subject":                 {func(e *eventv1.Event) { e.Subject = "" }, event.ReasonInvalid, []string{"subject"}},
		"no time":                    {func(e *eventv1.Event) { e.Time = nil }, event.ReasonInvalid, []string{"time"}},
		"a time that is none":        {func(e *eventv1.Event) { e.Time.Nanos = -1 }, event.ReasonUndecodable, []string{"time"}},
		"nothing but a type":         {func(e *eventv1.Event) { *e = eventv1.Event{Type: "usage.charged"} }, event.ReasonInvalid, []string{"id", "source", "tenant", "time", "data", "subject"}}, //nolint:govet // a new message in its place
		"data nobody knows":          {func(e *eventv1.Event) { e.Data.TypeUrl = "type.googleapis.com/a.B" }, event.ReasonUnknownData, []string{"data"}},
		"data that is cut off":       {func(e *eventv1.Event) { e.Data.Value = []byte{0x0a} }, event.ReasonUndecodable, []string{"data"}},
		"data of another type":       {func(e *eventv1.Event) { e.Type = "subscriber.terminated" }, event.ReasonInvalid, []string{"data"}},
		"an amount that overflows":   {func(e *eventv1.Event) { e.Data = usage("", "", 9223372036_00*100).Proto().GetData() }, event.ReasonAmount, []string{"data.net.units"}},
		"more than a mebibyte of it": {func(e *eventv1.Event) { e.Data.Value = append(e.Data.Value, large()...) }, event.ReasonTooLarge, []string{""}},
	}
}

// large is a field of UsageCharged, service, that is too long for any event.
func large() []byte {
	b, err := proto.Marshal(&eventv1.UsageCharged{Service: strings.Repeat("x", event.MaxBytes)})
	if err != nil {
		panic(err)
	}
	return b
}

func fieldsOf(err error) (fields []string) {
	for _, v := range fault.ViolationsOf(err) {
		fields = append(fields, v.Field)
	}
	return fields
}

func TestBadInputIsToldToWhoeverWaitsForTheAnswer(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		for name, tc := range bad() {
			t.Run(name, func(t *testing.T) {
				p := usage("bad", "447700900001", 100).Proto()
				tc.change(p)
				judge := func(door string, err error) {
					t.Helper()
					if diff := cmp.Diff(tc.fields, fieldsOf(err)); diff != "" || fault.KindOf(err) != fault.Invalid || fault.ReasonOf(err) != tc.reason {
						t.Errorf("%s: %v%s", door, err, diff)
					}
				}
				_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: p})
				judge("Publish", err)

				good := usage("good "+name, "447700900001", 100).Proto()
				batch, err := r.ingest.PublishBatch(f.ctx, &ingestv1.PublishBatchRequest{Events: []*eventv1.Event{good, p, good}})
				if err != nil {
					t.Fatal(err)
				}
				judgeResults(t, batch.GetResults(), judge)

				stream, err := r.ingest.PublishStream(f.ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range []*eventv1.Event{good, p, good} {
					if err := stream.Send(&ingestv1.PublishStreamRequest{Event: e}); err != nil {
						t.Fatal(err)
					}
				}
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				var results []*ingestv1.Result
				for {
					res, err := stream.Recv()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					results = append(results, res.GetResults()...)
				}
				judgeResults(t, results, judge)
			})
		}
		// Nothing of it is on the rejected topic: whoever sent it knows.
		f.produce(stream.Record{Value: []byte("hello")})
		if n := len(f.read(stream.EventsRejected, 1)); n != 1 {
			t.Errorf("%d records on the rejected topic", n)
		}
	})
}

// judgeResults expects a good event, a bad one and a good one.
func judgeResults(t *testing.T, results []*ingestv1.Result, judge func(door string, err error)) {
	t.Helper()
	if len(results) != 3 || results[0].GetReceipt() == nil || results[2].GetReceipt() == nil {
		t.Fatalf("%v", results)
	}
	judge("in a batch", fault.FromGRPC(statusError(results[1].GetError())))
}

func TestBadInputOnKafkaIsKeptWithItsReason(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		type sent struct {
			value  []byte
			reason string
			detail string
		}
		want := map[string]sent{"hello": {[]byte("hello"), event.ReasonUndecodable, "must be a tollgate.event.v1.Event"}}
		for name, tc := range bad() {
			p := usage("bad", "447700900001", 100).Proto()
			tc.change(p)
			value, err := proto.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			want[name] = sent{value, tc.reason, tc.fields[0]}
		}
		var records []stream.Record
		for name, s := range want {
			records = append(records, stream.Record{Key: []byte(name), Value: s.value, Headers: []stream.Header{{Key: "mine", Value: []byte(name)}}})
		}
		// Good ones of the same keys between them: nothing stops.
		for name := range want {
			records = append(records, stream.Record{Key: []byte(name), Value: bytesOf(t, usage("good "+name, "447700900001", 100))})
		}
		placed := f.produce(records...)
		offsets := map[string]stream.ProduceResult{}
		for i := range want {
			for n, rec := range records[:len(want)] {
				if string(rec.Key) == i {
					offsets[i] = placed[n]
				}
			}
		}
		for _, rec := range f.read(stream.EventsRejected, len(want)) {
			name := string(rec.Key)
			h := headersOf(rec)
			s, ok := want[name]
			if !ok {
				t.Errorf("%q was not sent, or is there twice", name)
				continue
			}
			delete(want, name)
			if !bytes.Equal(rec.Value, s.value) || h["mine"] != name {
				t.Errorf("%s: not as received: %d bytes of %d, %v", name, len(rec.Value), len(s.value), h)
			}
			if h["tollgate-reason"] != s.reason || !strings.Contains(h["tollgate-detail"], s.detail) {
				t.Errorf("%s: %s: %s", name, h["tollgate-reason"], h["tollgate-detail"])
			}
			at := offsets[name]
			if h["tollgate-topic"] != f.client.Topic(stream.EventsInbound) || h["tollgate-partition"] != fmt.Sprint(at.Partition) || h["tollgate-offset"] != fmt.Sprint(at.Offset) {
				t.Errorf("%s: stood at %+v, says %v", name, at, h)
			}
		}
		if len(want) > 0 {
			t.Errorf("lost: %v", want)
		}
		good := map[string]bool{}
		for _, rec := range f.read(stream.EventsOrdered, len(records)/2) {
			good[headersOf(rec)["ce_id"]] = true
		}
		if len(good) != len(records)/2 {
			t.Errorf("%d good events came through, %d were sent", len(good), len(records)/2)
		}
		lines := r.logs.FilterMessage("event rejected").All()
		if len(lines) != len(records)/2 {
			t.Errorf("%d lines for %d rejections", len(lines), len(records)/2)
		}
		for _, l := range lines {
			if text := fmt.Sprint(l.ContextMap()); strings.Contains(text, "447700900001") {
				t.Errorf("a line names a person: %s", text)
			}
		}
	})
}

func TestWhatTheRejectedTopicDoesNotTakeIsKeptByHash(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		f.start(nil)
		// Compressed it is small enough for any topic.
		f.produce(stream.Record{Value: bytes.Repeat([]byte("x"), event.RejectedMax+1)})
		rec := f.read(stream.EventsRejected, 1)[0]
		h := headersOf(rec)
		if len(rec.Value) != event.RejectedKept || len(h[event.HeaderSHA256]) != 64 || h[event.HeaderSize] != fmt.Sprint(event.RejectedMax+1) || h["tollgate-reason"] != event.ReasonTooLarge {
			t.Errorf("%d bytes, %v", len(rec.Value), h)
		}
	})
}

func TestTheHTTPDoorAnswersInProblems(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(nil)
		ce := map[string]string{"Content-Type": "application/cloudevents+json"}
		many := map[string]string{"Content-Type": "application/cloudevents-batch+json"}
		tests := map[string]struct {
			body    []byte
			headers map[string]string
			status  int
			reason  string
			fields  []string
		}{
			"every fault at once":          {structured(t, "1", map[string]any{"time": nil, "subject": nil}), ce, 400, event.ReasonInvalid, []string{"time", "subject"}},
			"not JSON":                     {[]byte("hello"), ce, 400, event.ReasonUndecodable, []string{""}},
			"no CloudEvent at all":         {[]byte("{}"), map[string]string{"Content-Type": "application/json"}, 400, event.ReasonUndecodable, []string{"content-type"}},
			"an unknown type":              {structured(t, "1", map[string]any{"type": "weather.changed"}), ce, 400, event.ReasonUnknownType, []string{"type"}},
			"a type that is ours":          {structured(t, "1", map[string]any{"type": "safeguard.reached", "data": map[string]any{}}), ce, 400, event.ReasonReserved, []string{"type"}},
			"an amount that overflows":     {structured(t, "1", map[string]any{"data": map[string]any{"net": map[string]any{"currencyCode": "EUR", "units": "9223372037"}}}), ce, 400, event.ReasonAmount, []string{"data.net.units"}},
			"more than a mebibyte":         {structured(t, strings.Repeat("x", event.MaxBytes), nil), ce, 413, event.ReasonTooLarge, []string{""}},
			"a batch of more than we take": {bytes.Repeat([]byte(" "), 9<<20), many, 413, event.ReasonTooLarge, []string{""}},
			"a batch of too many":          {[]byte("[" + strings.Repeat("1,", maxBatch) + "1]"), many, 413, "BATCH_TOO_LARGE", []string{"events"}},
			"a batch that is none":         {[]byte("{}"), many, 400, event.ReasonUndecodable, []string{""}},
			"no key":                       {structured(t, "1", nil), map[string]string{"Authorization": ""}, 401, "API_KEY_MISSING", nil},
			"another key":                  {structured(t, "1", nil), map[string]string{"Authorization": "Bearer tg_x"}, 401, "API_KEY_UNKNOWN", nil},
		}
		for name, tc := range tests {
			t.Run(name, func(t *testing.T) {
				a := r.post(tc.body, tc.headers)
				var fields []string
				for _, v := range a.Violations {
					fields = append(fields, v.Field)
				}
				if diff := cmp.Diff(tc.fields, fields); a.Status != tc.status || a.Reason != tc.reason || diff != "" {
					t.Errorf("%d %s%s", a.Status, a.Reason, diff)
				}
				if a.Status == 401 && !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
					t.Error("401 without saying how to authenticate")
				}
			})
		}

		batch := "[" + string(structured(t, "a", nil)) + "," + string(structured(t, "b", map[string]any{"time": nil})) + "," + string(structured(t, "c", nil)) + "]"
		a := r.post([]byte(batch), many)
		if a.Status != 207 || len(a.Results) != 3 || a.Results[0].Receipt == nil || a.Results[2].Receipt == nil || a.Results[1].Status != 400 || a.Results[1].Problem == nil || a.Results[1].Problem.Violations[0].Field != "time" {
			t.Errorf("%+v", a)
		}
		if n := len(f.read(stream.EventsOrdered, 2)); n != 2 {
			t.Errorf("%d events of the batch came through", n)
		}

		req, err := http.NewRequestWithContext(f.ctx, http.MethodGet, "http://"+r.http+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := r.browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if a := readAnswer(t, res); a.Status != 405 || res.Header.Get("Allow") != "POST" {
			t.Errorf("GET: %+v", a)
		}
	})
}

// What a producer's transaction aborts is not taken, what it commits is; transactions of two producers lie between each other.
func TestWhatATransactionAbortsIsNotTaken(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		var producers []*kgo.Client
		for _, id := range []string{"a", "b"} {
			c, err := kgo.NewClient(kgo.SeedBrokers(f.cfg.Kafka.Brokers...), kgo.TransactionalID(f.cfg.Kafka.Prefix+id), kgo.RecordPartitioner(kgo.ManualPartitioner()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			producers = append(producers, c)
		}
		f.start(nil)
		want := map[string]bool{}
		for i := range 8 {
			for _, c := range producers {
				if err := c.BeginTransaction(); err != nil {
					t.Fatal(err)
				}
			}
			for n := range 6 {
				id := fmt.Sprintf("%d-%d", i, n)
				record := &kgo.Record{Topic: f.client.Topic(stream.EventsInbound), Partition: 1, Value: bytesOf(t, usage(id, "447700900001", 100))}
				if err := producers[n%2].ProduceSync(f.ctx, record).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if (i>>(n%2))&1 == 0 {
					want[id] = true
				}
			}
			for n, c := range producers {
				if err := c.EndTransaction(f.ctx, kgo.TransactionEndTry((i>>n)&1 == 0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.produce(stream.Record{Partition: 1, Value: bytesOf(t, usage("last", "447700900001", 100))})
		want["last"] = true
		for _, rec := range f.read(stream.EventsOrdered, len(want)) {
			e, err := event.Decode(rec.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !want[e.ID] {
				t.Errorf("%s was taken, or taken twice", e.ID)
			}
			delete(want, e.ID)
		}
		if len(want) > 0 {
			t.Errorf("not taken: %v", want)
		}
	})
}
