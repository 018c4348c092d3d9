// Package wire computes what a Protobuf message will take in memory before it is decoded, and refuses one that is made to take
// much: an empty message is two bytes on the wire and a hundred times that in memory.
package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const (
	// MaxFields bounds the fields of one message, those of the messages in it and each element of a list counted.
	MaxFields = 100_000
	// maxDepth bounds messages in messages.
	maxDepth = 100
	// perField is what a field takes beside its content: its place in a list that grows, or the head of a string.
	perField = 48
	// perEntry is what an entry of a map takes.
	perEntry = 128
)

// Why a message is refused.
var (
	ErrMalformed = errors.New("is not well-formed Protobuf")
	ErrTooMany   = fmt.Errorf("must have at most %d fields and elements", MaxFields)
	ErrTooDeep   = fmt.Errorf("must be nested at most %d deep", maxDepth)
)

// Unmarshal is proto.Unmarshal of a message that was weighed before.
func Unmarshal(raw []byte, into proto.Message) error {
	if _, err := Weigh(raw, into); err != nil {
		return err
	}
	if err := proto.Unmarshal(raw, into); err != nil {
		return ErrMalformed
	}
	return nil
}

// Weigh is how many bytes raw takes at most once it is decoded into a message like this one. It reads tags and lengths
// only.
func Weigh(raw []byte, like proto.Message) (int64, error) {
	s := scale{most: MaxFields}
	if err := s.message(raw, like.ProtoReflect().Descriptor(), 0); err != nil {
		return 0, err
	}
	return s.bytes, nil
}

type scale struct {
	fields int
	most   int
	bytes  int64
}

func (s *scale) count(fields int, each int64) error {
	if s.fields += fields; s.fields > s.most {
		return ErrTooMany
	}
	s.bytes += int64(fields) * each
	return nil
}

func (s *scale) message(raw []byte, d protoreflect.MessageDescriptor, depth int) error {
	if depth > maxDepth {
		return ErrTooDeep
	}
	s.bytes += sizeOf(d)
	var typeURL []byte
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return ErrMalformed
		}
		size := protowire.ConsumeFieldValue(number, kind, raw[n:])
		if size < 0 {
			return ErrMalformed
		}
		value := raw[n : n+size]
		raw = raw[n+size:]
		field := d.Fields().ByNumber(number)
		each := int64(perField)
		if field != nil && field.IsMap() {
			each = perEntry
		}
		if err := s.count(1, each); err != nil {
			return err
		}
		if kind != protowire.BytesType {
			s.bytes += int64(size) // where it is unknown, it is kept as it came
			continue
		}
		content, _ := protowire.ConsumeBytes(value)
		var err error
		switch {
		case d.FullName() == anyName && number == anyValue:
			s.bytes += int64(n+size) + within(typeURL, content)
		case d.FullName() == anyName:
			typeURL = content
			s.bytes += int64(n + size)
		case field != nil && field.Message() != nil:
			err = s.message(content, field.Message(), depth+1)
		case field != nil && field.IsList() && packable(field.Kind()):
			err = s.count(elements(content, field.Kind()), 2*8) // a list that grows
		default:
			s.bytes += int64(n + size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Any holds a message as bytes; its fields come in order from every known encoder.
const (
	anyName  protoreflect.FullName = "google.protobuf.Any"
	anyValue protowire.Number      = 2
)

// within is what the message in an Any takes, where it is decoded. Whether it can be is not checked here.
func within(typeURL, value []byte) int64 {
	name := typeURL[bytes.LastIndexByte(typeURL, '/')+1:]
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(name))
	if err != nil {
		return 0
	}
	return estimate(value, t.Descriptor())
}

// Estimate is Weigh of a message that is decoded in any case, for whoever refuses it by its parts: what is malformed in it
// weighs nothing.
func Estimate(raw []byte, like proto.Message) int64 {
	return estimate(raw, like.ProtoReflect().Descriptor())
}

func estimate(raw []byte, d protoreflect.MessageDescriptor) int64 {
	s := scale{most: math.MaxInt}
	_ = s.message(raw, d, 0)
	return s.bytes
}

func packable(k protoreflect.Kind) bool {
	return k != protoreflect.StringKind && k != protoreflect.BytesKind && k != protoreflect.MessageKind && k != protoreflect.GroupKind
}

func elements(packed []byte, k protoreflect.Kind) int {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return len(packed) / 4
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return len(packed) / 8
	}
	n := 0
	for _, b := range packed {
		if b < 0x80 {
			n++
		}
	}
	return n
}

// sizes are of the Go types of messages, by full name.
var sizes sync.Map

// sizeOf is what an empty message takes.
func sizeOf(d protoreflect.MessageDescriptor) int64 {
	if d.IsMapEntry() {
		return 0
	}
	if known, ok := sizes.Load(d.FullName()); ok {
		return known.(int64)
	}
	size := int64(256)
	if t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName()); err == nil {
		// Half more: sizes of allocations are rounded up.
		size = int64(reflect.TypeOf(t.Zero().Interface()).Elem().Size()) * 3 / 2
	}
	sizes.Store(d.FullName(), size)
	return size
}
