package service

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/delivery"
	"github.com/tollgate/tollgate/pkg/trace"
	"github.com/tollgate/tollgate/pkg/trace/tracetest"
)

// answering is a sender that keeps the traceparent of each attempt.
type answering struct {
	out   delivery.Outcome
	under []string
}

func (a *answering) Send(_ context.Context, d *delivery.Delivery, _ delivery.Target, _ int) delivery.Outcome {
	a.under = append(a.under, d.Trace)
	return a.out
}

const producers = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestWithTrace_RecordsEachAttemptWithTheAnswer(t *testing.T) {
	collector := tracetest.New(t)
	tracer, err := trace.Open(t.Context(), trace.Config{Endpoint: collector.Address, ParentRatio: 1}, "webhook", zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	sender := &answering{}
	s := withTrace(&Service{Channel: &channel.Channel{Name: "pigeon"}, Sender: sender, Reply: "reply"}, tracer)
	d := &delivery.Delivery{ID: "dlv_1", Tenant: "acme", Trace: producers, Event: delivery.EventReference{Source: "cdr", ID: "e1", Subject: "447700900001"}}
	attempt := func(number int, out delivery.Outcome) {
		out.Started, out.Finished = began, began.Add(time.Second)
		sender.out = out
		if got := s.Send(t.Context(), d, nil, number); got.Status != out.Status {
			t.Errorf("the outcome is changed: %+v", got)
		}
	}
	attempt(1, delivery.Outcome{Status: 503, Error: "secret of the receiver"})
	attempt(2, delivery.Outcome{ErrorClass: "timeout"})
	attempt(3, delivery.Outcome{Unfinished: true})
	attempt(3, delivery.Outcome{Result: delivery.LocalFailure})
	attempt(3, delivery.Outcome{Status: 204, Result: delivery.Accepted})
	d.Trace = producers[:53] + "00"
	attempt(4, delivery.Outcome{Status: 204, Result: delivery.Accepted})
	if sender.under[5] != d.Trace {
		t.Errorf("what is not recorded is sent under %q", sender.under[5])
	}
	tracer.Close(t.Context())
	spans := collector.Spans()
	if len(spans) != 3 {
		t.Fatalf("%d spans: %+v", len(spans), spans)
	}
	for i, want := range []struct {
		failed string
		reply  any
		under  string
	}{{"503", int64(503), sender.under[0]}, {"timeout", nil, sender.under[1]}, {"", int64(204), sender.under[4]}} {
		got := spans[i]
		if got.Name != "pigeon attempt" || got.Status != want.failed || got.Failed != (want.failed != "") || got.Attributes["reply"] != want.reply || got.Attributes["tollgate.attempt"] != int64(i+1) {
			t.Errorf("attempt %d is %+v", i+1, got)
		}
		if under := "00-" + got.Trace + "-" + got.ID + "-01"; under != want.under || !got.End.Equal(began.Add(time.Second)) {
			t.Errorf("attempt %d was sent under %s, its span is %+v", i+1, want.under, got)
		}
	}
	if sender.under[2] != sender.under[4] || sender.under[0] == sender.under[1] {
		t.Errorf("attempts were sent under %q", sender.under)
	}
	if d.Trace != producers[:53]+"00" {
		t.Error("the delivery is changed")
	}
}

func TestWithTrace_OffIsTheSenderItself(t *testing.T) {
	sender := &answering{}
	if got := withTrace(&Service{Sender: sender}, nil); got != delivery.Sender(sender) {
		t.Errorf("it is %T", got)
	}
}
