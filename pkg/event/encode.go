package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// typeURLPrefix precedes a message's full name in Event.data.
const typeURLPrefix = "type.googleapis.com/"

// Fields of tollgate.event.v1.Event, google.protobuf.Any and google.protobuf.Timestamp, by number.
const (
	fieldID protowire.Number = 1 + iota
	fieldSource
	fieldType
	fieldTenant
	fieldSubject
	fieldTime
	fieldReceivedAt
	fieldCorrelation
	fieldData
	fieldUnknown
)

const (
	fieldTypeURL protowire.Number = 1
	fieldValue   protowire.Number = 2
	fieldSeconds protowire.Number = 1
	fieldNanos   protowire.Number = 2
)

// deterministic gives the same bytes for the same message, maps included.
var deterministic = proto.MarshalOptions{Deterministic: true}

var errNoData = errors.New("event has no data")

// Encode appends the event, as bytes of tollgate.event.v1.Event to dst. The bytes are deterministic: fields in order of
// their numbers, maps in order of their keys, times cut to milliseconds. They are what proto.Marshal would make of the
// same message.
func (e *Event) Encode(dst []byte) ([]byte, error) {
	if e.Data == nil {
		return dst, fmt.Errorf("encode event %q: %w", e.ID, errNoData)
	}
	data := e.Data.ProtoReflect()
	size := deterministic.Size(e.Data)
	texts := len(e.ID) + len(e.Source) + len(e.Type) + len(e.Tenant) + len(e.Subject) + len(e.Correlation)
	b := slices.Grow(dst, frame+texts+len(data.Descriptor().FullName())+size)
	b = appendString(b, fieldID, e.ID)
	b = appendString(b, fieldSource, e.Source)
	b = appendString(b, fieldType, e.Type)
	b = appendString(b, fieldTenant, e.Tenant)
	b = appendString(b, fieldSubject, e.Subject)
	b = appendTime(b, fieldTime, e.Time)
	b = appendTime(b, fieldReceivedAt, e.ReceivedAt)
	b = appendString(b, fieldCorrelation, e.Correlation)
	b, err := appendAny(b, data, size)
	if err == nil && e.Unknown != nil {
		b, err = appendUnknown(b, e.Unknown)
	}
	if err != nil {
		return dst, fmt.Errorf("encode event %q: %w", e.ID, err)
	}
	return b, nil
}

func appendUnknown(b []byte, unknown *structpb.Struct) ([]byte, error) {
	b = protowire.AppendTag(b, fieldUnknown, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(deterministic.Size(unknown)))
	return deterministic.MarshalAppend(b, unknown)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendString(b, s)
}

// appendTime leaves out a zero time: it is an absent one.
func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	ms := t.UnixMilli()
	seconds, rest := ms/1000, ms%1000
	if rest < 0 {
		seconds, rest = seconds-1, rest+1000
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = append(b, 0)
	body := len(b)
	if seconds != 0 {
		b = protowire.AppendTag(b, fieldSeconds, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(seconds))
	}
	if rest != 0 {
		b = protowire.AppendTag(b, fieldNanos, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(rest)*uint64(time.Millisecond))
	}
	b[body-1] = byte(len(b) - body) // at most 17
	return b
}

// frame is more than what an event's bytes are beside its texts and data: tags, lengths, two times, the prefix of a
// type.
const frame = 96

// appendAny appends data whose size was just computed, and is cached in it.
func appendAny(b []byte, data protoreflect.Message, size int) ([]byte, error) {
	name := data.Descriptor().FullName()
	message := data.Interface()
	options := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}

	url := len(typeURLPrefix) + len(name)
	inner := protowire.SizeTag(fieldTypeURL) + protowire.SizeBytes(url)
	if size > 0 {
		inner += protowire.SizeTag(fieldValue) + protowire.SizeBytes(size)
	}
	b = protowire.AppendTag(b, fieldData, protowire.BytesType)
	b = binary.AppendUvarint(b, uint64(inner))
	b = protowire.AppendTag(b, fieldTypeURL, protowire.BytesType)
	b = binary.AppendUvarint(b, uint64(url))
	b = append(b, typeURLPrefix...)
	b = append(b, name...)
	if size == 0 {
		return b, nil
	}
	b = protowire.AppendTag(b, fieldValue, protowire.BytesType)
	b = binary.AppendUvarint(b, uint64(size))
	before := len(b)
	b, err := options.MarshalAppend(b, message)
	if err != nil {
		return b, fmt.Errorf("encode %s: %w", name, err)
	}
	if len(b)-before != size {
		return b, fmt.Errorf("encode %s: it was changed meanwhile", name)
	}
	return b, nil
}
