package record

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fold/internal/duelist"
	"github.com/tollgate/tollgate/pkg/state"
)

// drawHeader is what may stand before a body.
func drawHeader(t *rapid.T) Header {
	number := func(name string) int64 { return rapid.Int64Range(0, 1<<42).Draw(t, name) }
	h := Header{Epoch: rapid.Uint32().Draw(t, "epoch"), Applied: number("applied") - 1, Last: number("last"), Side: rapid.Bool().Draw(t, "side record")}
	h.Creator[0] = rapid.Byte().Draw(t, "creator")
	if h.Moved = rapid.Bool().Draw(t, "moved"); h.Moved {
		for i := range rapid.IntRange(0, 2).Draw(t, "former") {
			h.PreviousCreators = append(h.PreviousCreators, event.Identity{byte(i)})
		}
		if h.Unpublished = rapid.Bool().Draw(t, "unpublished"); h.Unpublished {
			h.PreviousSequence = number("previous sequence")
		}
	}
	names := TimerNames{"period", "late", "gone"}
	if rapid.Bool().Draw(t, "names are spelt") {
		names = nil
	}
	for _, name := range []string{"late", "gone", "period"} {
		if rapid.Bool().Draw(t, name) {
			h.Schedule(writtenName(t, names, name), rapid.Int64Range(0, 3).Draw(t, "due")*duelist.MinuteMillis+rapid.Int64Range(0, 1).Draw(t, "ms"))
		}
	}
	if rapid.Bool().Draw(t, "segments") {
		for i := range IDsInRecord + 1 {
			h.IDs.Add(ID(i)<<16, 490_000+int64(i/10))
		}
		h.Schedule(ExpiryTimer, number("expiry"))
	}
	if h.Listed = rapid.Int64Range(0, 4).Draw(t, "listed"); len(h.Timers) > 0 && rapid.Bool().Draw(t, "listed by its first timer") {
		h.Listed = h.Timers[0].Due
	}
	return h
}

func TestHeader_IsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		record := append(h.Append(nil), "body"...)
		read, body, err := DecodeHeader(record)
		if err != nil || string(body) != "body" {
			t.Fatalf("body %q, %v", body, err)
		}
		for _, x := range []*Header{&h, &read} { // places of ids that went into a segment are left as they were
			clear(x.IDs.list[x.IDs.Count:])
			clear(x.IDs.hours[x.IDs.Count:])
		}
		compare := cmp.AllowUnexported(Header{}, Timer{}, IDs{}, Segment{}, AcceptedCall{})
		if diff := cmp.Diff(h, read, compare); diff != "" {
			t.Fatal(diff)
		}
		var holding []uint64
		if len(h.IDs.Segments) > 0 {
			SegmentsHolding(record, ID(1)<<16, func(number uint64) { holding = append(holding, number) })
			if !slices.Equal(holding, []uint64{0}) {
				t.Fatalf("the first segment holds the id, %d are named", holding)
			}
		}
		outline, err := ReadOutline(record)
		if err != nil || string(outline.Body) != "body" || outline.Sequence != h.Sequence() || outline.Gone {
			t.Fatalf("outline %+v, %v; the sequence is %d", outline, err, h.Sequence())
		}
		for n := range h.Append(nil) {
			if _, _, err := DecodeHeader(record[:n]); err == nil {
				t.Fatalf("%d of %d bytes were a header", n, len(record))
			}
			if _, err := ReadOutline(record[:n]); err == nil {
				t.Fatalf("%d of %d bytes had an outline", n, len(record))
			}
		}
	})
}

func TestTimerNames_ListedTakeOneByteAndKeepTheirOrder(t *testing.T) {
	var h Header
	names := TimerNames{"period", "late"}
	spelt := len(h.Append(nil))
	h.Schedule(writtenName(t, names, "late"), 0)
	if n := len(h.Append(nil)) - spelt; n > 2 {
		t.Errorf("a timer takes %d bytes beside its time", n)
	}
	h.Schedule(writtenName(t, names, "period"), 0)
	h.Schedule(ExpiryTimer, 0)
	var order []string
	for _, x := range h.Timers[:2] {
		name, err := names.Read(x.Name)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, name)
	}
	if !slices.Equal(order, names) || h.Timers[2].Name != ExpiryTimer {
		t.Errorf("they fire as %q, then %q", order, h.Timers[2].Name)
	}
	if _, err := names[:1].Read(writtenName(t, names, "late")); err == nil {
		t.Error("a name that this binary does not know was read")
	}
}

func TestTimerNames_RefusesInvalidName(t *testing.T) {
	for name, c := range map[string]struct {
		names TimerNames
		name  string
	}{
		"not listed, where names are":        {TimerNames{"period"}, "other"},
		"none":                               {nil, ""},
		"longer than its length byte allows": {nil, string(make([]byte, maxTimerName+1))},
		"as a listed one is written":         {nil, ListedNames[0]},
		"as the engine's own is written":     {nil, ExpiryTimer},
	} {
		t.Run(name, func(t *testing.T) {
			if written, err := c.names.Written(c.name); err == nil {
				t.Errorf("it is written %q", written)
			}
		})
	}
}

func TestFormat_OtherIsRefused(t *testing.T) {
	w := (&state.Watermark{Offset: 7, Status: state.Ready}).Encode()
	w[17]--
	r := (&Header{Applied: 7}).Append(nil)
	r[0]--
	_, ofWatermark := state.DecodeWatermark(w)
	_, _, ofRecord := DecodeHeader(r)
	for _, err := range []error{ofWatermark, ofRecord} {
		if _, other := errors.AsType[*state.FormatError](err); !other || !strings.Contains(err.Error(), "redis.prefix") {
			t.Errorf("%v does not have what to do", err)
		}
	}
}

// writtenName is a name as records have it.
func writtenName(t interface{ Fatal(args ...any) }, names TimerNames, name string) string {
	written, err := names.Written(name)
	if err != nil {
		t.Fatal(err)
	}
	return written
}
