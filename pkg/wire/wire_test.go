package wire

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	ingestv1 "github.com/tollgate/tollgate/proto/gen/tollgate/ingest/v1"
)

func nested(levels int) []byte {
	// A Value that is a list of one Value, and so on.
	var inner []byte
	for range levels {
		list := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner)
		inner = protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), list)
	}
	return inner
}

func TestWeight_IsRefusedBeforeDecoding(t *testing.T) {
	for name, tc := range map[string]struct {
		raw  []byte
		into proto.Message
		want error
	}{
		"millions of empty messages":    {bytes.Repeat([]byte{0x0a, 0}, 4<<20), &ingestv1.PublishBatchRequest{}, ErrTooMany},
		"millions of unknown fields":    {bytes.Repeat([]byte{0x78, 0}, 4<<20), &emptypb.Empty{}, ErrTooMany},
		"millions of empty strings":     {bytes.Repeat([]byte{0x0a, 0}, 4<<20), &fieldmaskpb.FieldMask{}, ErrTooMany},
		"millions of entries of a map":  {bytes.Repeat([]byte{0x0a, 2, 0x12, 0}, 1<<20), &structpb.Struct{}, ErrTooMany},
		"a message within itself":       {nested(3000), &structpb.Value{}, ErrTooDeep},
		"cut off":                       {[]byte{0x0a, 5, 0}, &fieldmaskpb.FieldMask{}, ErrMalformed},
		"a string that is not UTF-8":    {[]byte{0x0a, 1, 0xff}, &fieldmaskpb.FieldMask{}, ErrMalformed},
		"no field at all":               {nil, &fieldmaskpb.FieldMask{}, nil},
		"as many fields as are allowed": {bytes.Repeat([]byte{0x0a, 0}, MaxFields), &fieldmaskpb.FieldMask{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Unmarshal(tc.raw, tc.into)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, not %v", err, tc.want)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
				t.Errorf("%d bytes took %d of memory", len(tc.raw), took)
			}
		})
	}
}

// What an event carries is bytes to Protobuf, until somebody decodes it.
func TestWeight_CountsWhatAnAnyHolds(t *testing.T) {
	dense, err := proto.Marshal(&structpb.ListValue{Values: make([]*structpb.Value, 0)})
	if err != nil {
		t.Fatal(err)
	}
	dense = append(dense, bytes.Repeat([]byte{0x0a, 2, 0x20, 1}, 30_000)...)
	for name, atLeast := range map[string]int64{"type.googleapis.com/google.protobuf.ListValue": 30_000 * 60, "x/unknown": 0} {
		held := &anypb.Any{TypeUrl: name, Value: dense}
		raw, err := proto.Marshal(held)
		if err != nil {
			t.Fatal(err)
		}
		weight, err := Weigh(raw, &anypb.Any{})
		if err != nil || weight < int64(len(dense))+atLeast || weight > int64(len(dense))+6*atLeast+1000 {
			t.Errorf("%s: %d, %v", name, weight, err)
		}
	}
}

func TestWeight_IsAtLeastWhatDecodingTakes(t *testing.T) {
	for name, tc := range map[string]struct {
		unit []byte
		into proto.Message
	}{
		"empty events":        {[]byte{0x0a, 0}, &ingestv1.PublishBatchRequest{}},
		"empty strings":       {[]byte{0x0a, 0}, &fieldmaskpb.FieldMask{}},
		"long strings":        {append([]byte{0x0a, 100}, bytes.Repeat([]byte("x"), 100)...), &fieldmaskpb.FieldMask{}},
		"entries of a map":    {[]byte{0x0a, 5, 0x0a, 1, 'k', 0x12, 0}, &structpb.Struct{}},
		"values of a list":    {[]byte{0x0a, 2, 0x20, 1}, &structpb.ListValue{}},
		"unknown fields":      {[]byte{0xf8, 0x07, 1}, &emptypb.Empty{}},
		"empty notifications": {[]byte{0x1a, 0}, &configv1.Snapshot{}},
	} {
		raw := bytes.Repeat(tc.unit, 30_000)
		weight, err := Weigh(raw, tc.into)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := proto.Unmarshal(raw, tc.into); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if took := int64(after.HeapAlloc) - int64(before.HeapAlloc); took > weight {
			t.Errorf("%s: weighed %d, took %d", name, weight, took)
		}
		runtime.KeepAlive(tc.into)
	}
}
