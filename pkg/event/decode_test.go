package event_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// slowly is what Decode promises to be equal to: the generated decoder, then that of the data.
func slowly(value []byte) (*event.Event, error) {
	var p eventv1.Event
	if err := proto.Unmarshal(value, &p); err != nil {
		return nil, fault.NewInvalid(reason.Undecodable)
	}
	e, err := event.FromProto(&p)
	if e != nil && e.Data != nil {
		// FromProto reads the data as Decode does: here the generated decoder alone.
		data, failed := p.GetData().UnmarshalNew()
		if failed != nil {
			return e, failed
		}
		e.Data = data
	}
	return e, err
}

// agree fails the test where the two ways of decoding differ in anything but the text of an error.
func agree(t *testing.T, value []byte) {
	t.Helper()
	kept := bytes.Clone(value)
	got, gotErr := event.Decode(value)
	want, wantErr := slowly(value)
	if (gotErr == nil) != (wantErr == nil) || fault.ReasonOf(gotErr) != fault.ReasonOf(wantErr) {
		t.Fatalf("%x: by hand %v, by the generated code %v", value, gotErr, wantErr)
	}
	if !bytes.Equal(kept, value) {
		t.Fatalf("%x: decoding has changed the bytes", kept)
	}
	if got == nil || want == nil {
		if got != nil || want != nil {
			t.Fatalf("%x: by hand %v, by the generated code %v", value, got, want)
		}
		return
	}
	for i := range value {
		value[i] = 0xff // what is decoded must not lie in there
	}
	type fields struct {
		ID, Source, Type, Tenant, Subject, Correlation, Trace string
		Time, ReceivedAt                                      time.Time
		Data                                                  proto.Message
	}
	of := func(e *event.Event) fields {
		return fields{e.ID, e.Source, e.Type, e.Tenant, e.Subject, e.Correlation, e.Trace, e.Time, e.ReceivedAt, e.Data}
	}
	if diff := cmp.Diff(of(want), of(got), protocmp.Transform()); diff != "" {
		t.Fatalf("%x: generated -, by hand +\n%s", kept, diff)
	}
}

// corpus are encodings that writers of other languages may produce, and some that none should.
func corpus(tb testing.TB) map[string][]byte {
	plain, err := usage().Encode(nil)
	if err != nil {
		tb.Fatal(err)
	}
	later, err := proto.Marshal(&eventv1.Event{Time: &timestamppb.Timestamp{Nanos: 5e6}, Id: "other", Correlation: "y"})
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{
		"nothing":                               {},
		"as we write it":                        plain,
		"fields twice, messages merge":          append(bytes.Clone(plain), later...),
		"fields in another order":               append(bytes.Clone(later), plain...),
		"cut off":                               plain[:len(plain)-1],
		"an unknown field":                      append(bytes.Clone(plain), 0x7a, 1, 'x'),
		"an unknown group":                      append(bytes.Clone(plain), 0x7b, 0x08, 1, 0x7c),
		"a group that does not end":             append(bytes.Clone(plain), 0x7b, 0x08, 1),
		"an end without its group":              append(bytes.Clone(plain), 0x7c),
		"field number 0":                        append(bytes.Clone(plain), 0x02, 0),
		"a known field of another wire type":    append(bytes.Clone(plain), 0x08, 1),
		"an id that is not UTF-8":               {0x0a, 1, 0xff},
		"a type URL that is not UTF-8":          {0x4a, 3, 0x0a, 1, 0xff},
		"seconds of ten bytes":                  {0x32, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"seconds that overflow a varint":        {0x32, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02},
		"nanos that are negative":               {0x32, 11, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"data without a type URL":               {0x4a, 0},
		"data of an unknown type":               {0x4a, 5, 0x0a, 3, 'a', '/', 'b'},
		"data whose type URL has no slash":      append([]byte{0x4a, 28, 0x0a, 26}, "tollgate.event.v1.SystemGap"[:26]...),
		"data that is another message's":        append([]byte{0x4a, 34, 0x0a, 28}, "/tollgate.event.v1.SystemTick\x12\x02\x0a\x05"[:32]...),
		"a length longer than what there is":    {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 'x'},
		"a length written longer than it needs": {0x0a, 0x81, 0x80, 0x00, 'x'},
	}
}

func TestDecode_AgreesWithTheGeneratedCode(t *testing.T) {
	for name, value := range corpus(t) {
		t.Run(name, func(t *testing.T) { agree(t, value) })
	}
}

func FuzzDecode(f *testing.F) {
	for _, value := range corpus(f) {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) { agree(t, value) })
}

// usageForms are encodings of UsageCharged besides the usual one.
func usageForms(tb testing.TB) map[string][]byte {
	usual, err := proto.Marshal(usage().Data)
	if err != nil {
		tb.Fatal(err)
	}
	with := func(more ...byte) []byte { return append(bytes.Clone(usual), more...) }
	return map[string][]byte{
		"the usual one":                  usual,
		"none":                           {},
		"net twice, which merges":        with(0x32, 2, 0x10, 7),
		"an amount without fields":       {0x32, 0},
		"a field twice":                  with(0x08, 2),
		"an unknown field":               with(0x78, 1),
		"an unknown field of money":      {0x32, 2, 0x20, 1},
		"a currency twice":               {0x32, 6, 0x0a, 1, 'A', 0x0a, 1, 'B'},
		"a currency that does not exist": {0x32, 5, 0x0a, 3, 'X', 'X', 'Y'},
		"a correction":                   with(0x42, 3, 0x0a, 1, 'x'),
		"false written out":              {0x10, 0},
		"true as a large number":         {0x10, 0x80, 0x01},
		"a negative category":            {0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
		"a category past 32 bits":        {0x08, 0x81, 0x80, 0x80, 0x80, 0x10},
		"a country of small letters":     {0x5a, 2, 'f', 'r'},
		"a country of capitals":          {0x5a, 2, 'Z', 'Z'},
		"a unit that is not UTF-8":       {0x52, 1, 0xff},
		"two bytes that are not":         {0x52, 2, 'A', 0xff},
		"a long unit":                    with(0x62, 9, 'm', 'e', 'g', 'a', 'b', 'y', 't', 'e', 's'),
		"a varint where bytes belong":    {0x50, 1},
		"bytes where a varint does":      {0x0a, 1, 1},
		"a group":                        {0x0b, 0x0c},
		"four bytes":                     {0x0d, 1, 2, 3, 4},
		"cut off":                        usual[:len(usual)-1],
		"money cut off":                  {0x32, 1, 0x0a},
	}
}

func wrapped(data []byte) []byte {
	value, err := proto.Marshal(&eventv1.Event{Data: &anypb.Any{TypeUrl: "type.googleapis.com/tollgate.event.v1.UsageCharged", Value: data}})
	if err != nil {
		panic(err)
	}
	return value
}

func TestDecode_EveryFormOfUsageAgrees(t *testing.T) {
	for name, data := range usageForms(t) {
		t.Run(name, func(t *testing.T) { agree(t, wrapped(data)) })
	}
}

func FuzzDecodeUsage(f *testing.F) {
	for _, data := range usageForms(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { agree(t, wrapped(data)) })
}

func TestDecode_ErrorComesWithTheReadablePart(t *testing.T) {
	value, err := proto.Marshal(&eventv1.Event{
		Id: "7", Tenant: "acme", Time: &timestamppb.Timestamp{Nanos: -1},
		ReceivedAt: &timestamppb.Timestamp{Seconds: 1 << 50},
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := event.Decode(value)
	if e == nil || e.ID != "7" || e.Tenant != "acme" {
		t.Errorf("%+v", e)
	}
	if got := fault.ViolationsOf(err); len(got) != 2 || got[0].Field != "time" || got[1].Field != "received_at" {
		t.Errorf("%v", err)
	}
	if e, err := event.Decode([]byte{0x0a}); e != nil || fault.ReasonOf(err) != reason.Undecodable {
		t.Errorf("%v %v", e, err)
	}
}

func BenchmarkDecode(b *testing.B) {
	value, err := usage().Encode(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := event.Decode(value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := slowly(value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkIdentityAndContent(b *testing.B) {
	value, err := usage().Encode(nil)
	if err != nil {
		b.Fatal(err)
	}
	e, err := event.Decode(value)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if e.Identity() == (event.Identity{}) || e.Content() == 0 {
			b.Fatal("zero")
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	e := usage()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Record("tollgate.events.ordered"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	e := usage()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}
