package fold

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tollgate/tollgate/pkg/state"
)

// drawHeader is what may stand before a body.
func drawHeader(t *rapid.T) header {
	number := func(name string) int64 { return rapid.Int64Range(0, 1<<42).Draw(t, name) }
	h := header{epoch: rapid.Uint32().Draw(t, "epoch"), applied: number("applied") - 1, last: number("last"), aside: rapid.Bool().Draw(t, "aside")}
	h.creator[0] = rapid.Byte().Draw(t, "creator")
	if h.moved = rapid.Bool().Draw(t, "moved"); h.moved {
		for i := range rapid.IntRange(0, 2).Draw(t, "former") {
			h.former = append(h.former, Identity{byte(i)})
		}
		if h.silent = rapid.Bool().Draw(t, "silent"); h.silent {
			h.heard = number("heard")
		}
	}
	names := timerNames{"period", "late", "mark"}
	if rapid.Bool().Draw(t, "names are spelt") {
		names = nil
	}
	for _, name := range []string{"late", "mark", "period"} {
		if rapid.Bool().Draw(t, name) {
			h.schedule(writtenName(t, names, name), rapid.Int64Range(0, 3).Draw(t, "due")*minuteMillis+rapid.Int64Range(0, 1).Draw(t, "ms"))
		}
	}
	if rapid.Bool().Draw(t, "sealed") {
		for i := range idsInRecord + 1 {
			h.ids.add(id(i)<<16, 490_000+int64(i/10))
		}
		h.schedule(expiryTimer, number("expiry"))
	}
	if h.listed = rapid.Int64Range(0, 4).Draw(t, "listed"); len(h.timers) > 0 && rapid.Bool().Draw(t, "listed by its first timer") {
		h.listed = h.timers[0].due
	}
	return h
}

func TestAHeaderIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeader(t)
		record := append(h.append(nil), "body"...)
		read, body, err := decodeHeader(record)
		if err != nil || string(body) != "body" {
			t.Fatalf("body %q, %v", body, err)
		}
		for _, x := range []*header{&h, &read} { // places of ids that went into a seal are left as they were
			clear(x.ids.list[x.ids.count:])
			clear(x.ids.hours[x.ids.count:])
		}
		compare := cmp.AllowUnexported(header{}, timer{}, ids{}, seal{}, madeCall{})
		if diff := cmp.Diff(h, read, compare); diff != "" {
			t.Fatal(diff)
		}
		var holding []uint64
		if len(h.ids.seals) > 0 {
			sealsHolding(record, id(1)<<16, func(number uint64) { holding = append(holding, number) })
			if !slices.Equal(holding, []uint64{0}) {
				t.Fatalf("the first seal holds the id, %d are named", holding)
			}
		}
		for n := range h.append(nil) {
			if _, _, err := decodeHeader(record[:n]); err == nil {
				t.Fatalf("%d of %d bytes were a header", n, len(record))
			}
		}
	})
}

func TestNamesOfTimersThatAreListedTakeAByteAndFireInTheirOrder(t *testing.T) {
	var h header
	names := timerNames{"period", "late"}
	spelt := len(h.append(nil))
	h.schedule(writtenName(t, names, "late"), 0)
	if n := len(h.append(nil)) - spelt; n > 2 {
		t.Errorf("a timer takes %d bytes beside its time", n)
	}
	h.schedule(writtenName(t, names, "period"), 0)
	h.schedule(expiryTimer, 0)
	var order []string
	for _, x := range h.timers[:2] {
		name, err := names.read(x.name)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, name)
	}
	if !slices.Equal(order, names) || h.timers[2].name != expiryTimer {
		t.Errorf("they fire as %q, then %q", order, h.timers[2].name)
	}
	if _, err := names[:1].read(writtenName(t, names, "late")); err == nil {
		t.Error("a name that this binary does not know was read")
	}
}

func TestANameThatIsNoTimersIsAFault(t *testing.T) {
	for name, c := range map[string]struct {
		names timerNames
		name  string
	}{
		"not listed, where names are":    {timerNames{"period"}, "other"},
		"none":                           {nil, ""},
		"as long as no length tells":     {nil, string(make([]byte, maxTimerName+1))},
		"as a listed one is written":     {nil, listedNames[0]},
		"as the engine's own is written": {nil, expiryTimer},
	} {
		t.Run(name, func(t *testing.T) {
			if written, err := c.names.written(c.name); err == nil {
				t.Errorf("it is written %q", written)
			}
		})
	}
}

func TestWhatAnotherVersionWroteIsNotRead(t *testing.T) {
	w := (&state.Watermark{Offset: 7, Status: state.Ready}).Encode()
	w[17]--
	r := (&header{applied: 7}).append(nil)
	r[0]--
	_, ofWatermark := state.DecodeWatermark(w)
	_, _, ofRecord := decodeHeader(r)
	for _, err := range []error{ofWatermark, ofRecord} {
		if _, other := errors.AsType[*state.FormatError](err); !other || !strings.Contains(err.Error(), "redis.prefix") {
			t.Errorf("%v does not say what to do", err)
		}
	}
}

// writtenName is a name as records have it.
func writtenName(t interface{ Fatal(args ...any) }, names timerNames, name string) string {
	written, err := names.written(name)
	if err != nil {
		t.Fatal(err)
	}
	return written
}
