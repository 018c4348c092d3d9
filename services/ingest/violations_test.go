package ingest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

// bad are events that no transport takes, as Protobuf; the synchronous APIs must answer what the rejected topic has.
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
		"an unknown type":            {func(e *eventv1.Event) { e.Type = "weather.changed" }, reason.UnknownType, []string{"type"}},
		"a type that is ours":        {func(e *eventv1.Event) { e.Type = "safeguard.reached" }, reason.EventInvalid, []string{"type", "data"}},
		"a control record":           {func(e *eventv1.Event) { e.Type = event.TypeTick }, reason.TypeReserved, []string{"type"}},
		"no subject":                 {func(e *eventv1.Event) { e.Subject = "" }, reason.EventInvalid, []string{"subject"}},
		"no time":                    {func(e *eventv1.Event) { e.Time = nil }, reason.EventInvalid, []string{"time"}},
		"a time that is none":        {func(e *eventv1.Event) { e.Time.Nanos = -1 }, reason.Undecodable, []string{"time"}},
		"nothing but a type":         {func(e *eventv1.Event) { *e = eventv1.Event{Type: "usage.charged"} }, reason.EventInvalid, []string{"id", "source", "tenant", "time", "data", "subject"}}, //nolint:govet // a new message in its place
		"data of an unknown type":    {func(e *eventv1.Event) { e.Data.TypeUrl = "type.googleapis.com/a.B" }, reason.UnknownData, []string{"data"}},
		"data that is cut off":       {func(e *eventv1.Event) { e.Data.Value = []byte{0x0a} }, reason.Undecodable, []string{"data"}},
		"data of another type":       {func(e *eventv1.Event) { e.Type = "subscriber.terminated" }, reason.EventInvalid, []string{"data"}},
		"an amount that overflows":   {func(e *eventv1.Event) { e.Data = usage("", "", 9223372036_00*100).Proto().GetData() }, reason.AmountInvalid, []string{"data.net.units"}},
		"more than a mebibyte of it": {func(e *eventv1.Event) { e.Data.Value = append(e.Data.Value, large()...) }, reason.TooLarge, []string{""}},
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

func TestPublish_AnswersEveryViolation(t *testing.T) {
	t.Parallel()
	onBrokers(t, func(t *testing.T, f *fixture) {
		r := f.start(f.configured())
		for name, tc := range bad() {
			t.Run(name, func(t *testing.T) {
				p := usage("bad", "447700900001", 100).Proto()
				tc.change(p)
				check := func(how string, err error) {
					t.Helper()
					if diff := cmp.Diff(tc.fields, fieldsOf(err)); diff != "" || fault.KindOf(err) != fault.Invalid ||
						fault.ReasonOf(err) != tc.reason {
						t.Errorf("%s: %v%s", how, err, diff)
					}
				}
				_, err := r.ingest.Publish(f.ctx, &ingestv1.PublishRequest{Event: p})
				check("Publish", err)

				good := usage("good "+name, "447700900001", 100).Proto()
				batch, err := r.ingest.PublishBatch(f.ctx,
					&ingestv1.PublishBatchRequest{Events: []*eventv1.Event{good, p, good}})
				if err != nil {
					t.Fatal(err)
				}
				checkResults(t, batch.GetResults(), check)

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
				checkResults(t, results, check)
			})
		}
		// Nothing of it is on the rejected topic: the caller has the error.
		f.produce(stream.Record{Value: []byte("hello")})
		if n := len(f.read(stream.EventsRejected, 1)); n != 1 {
			t.Errorf("%d records on the rejected topic", n)
		}
	})
}

// checkResults expects a good event, a bad one and a good one.
func checkResults(t *testing.T, results []*ingestv1.Result, check func(how string, err error)) {
	t.Helper()
	if len(results) != 3 || results[0].GetReceipt() == nil || results[2].GetReceipt() == nil {
		t.Fatalf("%v", results)
	}
	check("in a batch", fault.FromGRPC(statusError(results[1].GetError())))
}
