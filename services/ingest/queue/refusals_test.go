package queue

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/stream"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func atCursor(text string) *ingestv1.Start {
	return &ingestv1.Start{At: &ingestv1.Start_Cursor{Cursor: text}}
}

// made is a cursor that nobody was sent.
func made(c cursor, positions ...int64) string {
	raw := appendTopic(nil, c.event.topic, len(positions))
	for _, p := range positions {
		raw = append(raw, byte(p))
	}
	return string(appendHead(nil, &c)) + base64.RawURLEncoding.EncodeToString(raw)
}

func TestSubscribe_RefusesWithEveryFault(t *testing.T) {
	f := onEmbedded(t)
	r := f.replica(nil)
	ours := newSubscriptionID("sample", "s")
	for name, tc := range map[string]struct {
		change func(*ingestv1.Subscription)
		code   codes.Code
		reason string
		// words are of the violations or the message.
		words []string
	}{
		"everything at once": {func(s *ingestv1.Subscription) {
			s.Name, s.Types, s.Filter = strings.Repeat("n", 64), []string{"client.*", "no.such", "*.x", "system.revision", "nothing.*"}, "data.nothing == 1"
			s.Start = &ingestv1.Start{At: &ingestv1.Start_Time{Time: &timestamppb.Timestamp{Seconds: -1}}}
		}, codes.InvalidArgument, "REQUEST_INVALID", []string{
			"subscription.name", "subscription.types[1]", "subscription.types[2]", "subscription.types[3]", "subscription.types[4]",
			"subscription.filter", "subscription.start.time",
		}},
		"no types":          {func(s *ingestv1.Subscription) { s.Types = nil }, codes.InvalidArgument, "REQUEST_INVALID", []string{"subscription.types"}},
		"101 types":         {func(s *ingestv1.Subscription) { s.Types = slices.Repeat([]string{"client.*"}, 101) }, codes.InvalidArgument, "REQUEST_INVALID", []string{"must be 1 to 100"}},
		"no tenant":         {func(s *ingestv1.Subscription) { s.Tenant = "" }, codes.InvalidArgument, "REQUEST_INVALID", []string{"subscription.tenant"}},
		"an unknown tenant": {func(s *ingestv1.Subscription) { s.Tenant = "nobody" }, codes.InvalidArgument, "UNKNOWN_TENANT", []string{`"nobody" does not exist`}},
		"a name with a slash": {func(s *ingestv1.Subscription) { s.Name = "a/b" }, codes.InvalidArgument, "REQUEST_INVALID",
			[]string{"subscription.name"}},
		"a filter that explodes": {func(s *ingestv1.Subscription) {
			s.Filter = `data.changed_fields.all(a, data.changed_fields.all(b, a.matches("(x+x+)+y") || b.matches("(x+x+)+y")))`
		}, codes.InvalidArgument, "REQUEST_INVALID", []string{"costs too much"}},
		"a filter that is too long": {func(s *ingestv1.Subscription) { s.Filter = strings.Repeat("true || ", 1000) + "true" }, codes.InvalidArgument,
			"REQUEST_INVALID", []string{"at most 4096 bytes"}},
		"no position and no start": {func(s *ingestv1.Subscription) { s.Start = nil }, codes.FailedPrecondition, "POSITION_UNKNOWN", []string{"give a start"}},
		"a start that is nowhere":  {func(s *ingestv1.Subscription) { s.Start = &ingestv1.Start{} }, codes.InvalidArgument, "REQUEST_INVALID", []string{"start"}},
		"a start in the future": {func(s *ingestv1.Subscription) {
			s.Start.At = &ingestv1.Start_Time{Time: timestamppb.New(time.Now().Add(time.Hour))}
		}, codes.InvalidArgument, "REQUEST_INVALID", []string{"start.time"}},
		"a start at what is no cursor": {func(s *ingestv1.Subscription) { s.Start = atCursor("abc") }, codes.InvalidArgument, "CURSOR_INVALID", []string{"no cursor"}},
		"a cursor of another": {func(s *ingestv1.Subscription) {
			s.Start = atCursor(made(cursor{subscription: newSubscriptionID("sample", "x")}, 0))
		}, codes.InvalidArgument, "CURSOR_INVALID", []string{"another subscription"}},
		"a cursor of a partition beyond": {func(s *ingestv1.Subscription) {
			s.Start = atCursor(made(cursor{subscription: ours, event: place{0, 4, 0}}, 0, 0))
		}, codes.InvalidArgument, "CURSOR_INVALID", []string{"partition 4"}},
		"a cursor beyond the log": {func(s *ingestv1.Subscription) {
			s.Start = atCursor(made(cursor{subscription: ours}, 99, 0, 0, 0, 0, 0, 0, 0))
		}, codes.FailedPrecondition, "POSITION_UNKNOWN", []string{"the log holds"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := &ingestv1.Subscription{Tenant: "sample", Name: "s", Types: []string{"client.*"}, Start: earliest()}
			tc.change(want)
			_, err := r.try(want)
			text := err.Error()
			for _, v := range fault.ViolationsOf(err) {
				text += "\n" + v.String()
			}
			if status.Code(err) != tc.code || fault.ReasonOf(err) != tc.reason {
				t.Errorf("%v %v", status.Code(err), err)
			}
			for _, w := range tc.words {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in\n%s", w, text)
				}
			}
		})
	}
	if n, _, _ := r.queue.count(); n != 0 {
		t.Errorf("%d streams are open", n)
	}
}

func TestAck_RefusesWithEveryFault(t *testing.T) {
	f := onEmbedded(t)
	f.publish76()
	r := f.replica(nil)
	want := func() *ingestv1.Subscription {
		return &ingestv1.Subscription{Tenant: "sample", Types: []string{"client.*"}, Start: earliest()}
	}
	other := r.subscribe(&ingestv1.Subscription{Tenant: "sample", Name: "other", Types: []string{"client.*"}, Start: earliest()}).next(1)[0]
	for name, tc := range map[string]struct {
		ack   func(c *consumer, e *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest
		words []string
	}{
		"nothing":               {func(*consumer, *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest { return &ingestv1.SubscribeRequest{} }, []string{"ack: must be in"}},
		"a second subscription": {func(*consumer, *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest { return subscribing(want()) }, []string{"ack: must be in"}},
		"an empty ack":          {func(*consumer, *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest { return acking(&ingestv1.Ack{}) }, []string{"cursor or events"}},
		"10,000 acks": {func(_ *consumer, e *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest {
			return acking(&ingestv1.Ack{Events: slices.Repeat([]*ingestv1.EventAck{{Cursor: e.GetCursor()}}, 10_000)})
		}, []string{"ack.events: must be at most 1000, not 10000"}},
		"the cursor of another subscription": {func(*consumer, *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest {
			return acking(&ingestv1.Ack{Cursor: other.GetCursor()})
		}, []string{"ack.cursor: is of another subscription"}},
		"a sending that never was": {func(c *consumer, e *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest {
			at, err := parseCursor(e.GetCursor())
			if err != nil {
				t.Fatal(err)
			}
			at.seq = 1000
			return acking(&ingestv1.Ack{Cursor: made(at)})
		}, []string{"never sent"}},
		"a partition that does not exist": {func(c *consumer, e *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest {
			at, err := parseCursor(e.GetCursor())
			if err != nil {
				t.Fatal(err)
			}
			at.event.partition = 70_000
			return acking(&ingestv1.Ack{Events: []*ingestv1.EventAck{{Cursor: made(at)}}})
		}, []string{"ack.events[0].cursor: names partition 70000, which does not exist"}},
		"several faults": {func(_ *consumer, e *ingestv1.QueuedEvent) *ingestv1.SubscribeRequest {
			return acking(&ingestv1.Ack{Cursor: "x", Events: []*ingestv1.EventAck{
				{Cursor: e.GetCursor(), GivenUp: &ingestv1.GivenUp{}}, {Id: "a"}, {Cursor: "y"},
			}})
		}, []string{"ack.cursor", "ack.events[0].given_up.reason", "ack.events[1]", "ack.events[2].cursor"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := r.subscribe(want())
			e := c.next(1)[0]
			if err := c.stream.Send(tc.ack(c, e)); err != nil {
				t.Fatal(err)
			}
			err := c.ends()
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%v", err)
			}
			for _, w := range tc.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %v", w, err)
				}
			}
		})
	}
}

func subscribing(s *ingestv1.Subscription) *ingestv1.SubscribeRequest {
	return &ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Subscription{Subscription: s}}
}

func acking(a *ingestv1.Ack) *ingestv1.SubscribeRequest {
	return &ingestv1.SubscribeRequest{Request: &ingestv1.SubscribeRequest_Ack{Ack: a}}
}

// What looks like something done long ago does nothing, and the stream goes on.
func TestAck_OfWhatDoesNotWaitIsPassedOver(t *testing.T) {
	f := onEmbedded(t)
	f.publish76()
	r := f.replica(nil)
	c := r.subscribe(fc76())
	got := c.next(2)
	c.send(&ingestv1.Ack{Events: []*ingestv1.EventAck{
		{Id: "N3", Source: "crm", Subject: "client/7601"}, {Id: "nobody", Source: "crm", GivenUp: &ingestv1.GivenUp{Reason: "why not"}},
	}})
	c.one(got[0])
	if ids := c.ids(1); ids != "N2" {
		t.Errorf("%q comes: N3 was held back and can't be acknowledged", ids)
	}
}

func TestSubscribe_ExpiredPositionIsNeverAJump(t *testing.T) {
	onBrokers(t, func(t *testing.T, f *fixture) {
		f.publish76()
		r := f.replica(nil)
		c := r.subscribe(fc76())
		c.next(2)
		c.cancel()
		_ = c.ends()
		f.until("the stream's end is known", func() bool { n, _, _ := r.queue.count(); return n == 0 })
		f.deleteRecords(stream.EventsOrdered, 4, 2)
		for _, start := range []*ingestv1.Start{nil, earliest(), latest()} {
			want := fc76()
			want.Start = start
			if _, err := r.try(want); status.Code(err) != codes.FailedPrecondition || fault.ReasonOf(err) != "POSITION_UNKNOWN" || !strings.Contains(err.Error(), "the log holds 2 to 5") {
				t.Errorf("from %v: %v", start, err)
			}
		}
		want := fc76()
		want.Start.ResetPosition = true
		c = r.subscribe(want)
		if ids := c.ids(2); ids != "N2 O2" {
			t.Errorf("with reset_position %q comes", ids)
		}
	})
}

func TestAck_GivesUpWhatItsCursorReachesToo(t *testing.T) {
	f := onEmbedded(t)
	f.publish76()
	r := f.replica(nil)
	c := r.subscribe(fc76())
	got := c.next(2)
	c.send(&ingestv1.Ack{Cursor: got[1].GetCursor(), Events: []*ingestv1.EventAck{{Cursor: got[0].GetCursor(), GivenUp: &ingestv1.GivenUp{Reason: "never"}}}})
	if ids := c.ids(2); ids != "N2 O2" {
		t.Errorf("%q comes", ids)
	}
	if all := f.read(stream.EventsRejected, 1); len(all) != 1 {
		t.Errorf("%d were given up", len(all))
	}
}
