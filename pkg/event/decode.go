package event

import (
	"bytes"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/reason"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

// Decode reads the bytes of a tollgate.event.v1.Event, as our own topics have them. It is on the way of every
// record through every consumer, and therefore by hand: the same as proto.Unmarshal of the event and of its data, in
// half the time. It does not validate: see Validate.
//
// The error is a fault of kind Invalid: UNDECODABLE, or UNKNOWN_DATA where the data's message is none that is known.
// The event comes along with the error as far as it could be read, so that a caller can name it; it is nil only
// where the envelope itself is not Protobuf. What is decoded shares no memory with value.
func Decode(value []byte) (*Event, error) {
	v := violations{}
	e := decode(value, &v)
	return e, v.err()
}

func decode(value []byte, v *violations) *Event {
	w, err := readWire(value)
	if err != nil {
		v.add(reason.Undecodable, "", "must be a tollgate.event.v1.Event: %s", err)
		return nil
	}
	e := w.event()
	w.times(e, v)
	if w.hasData {
		e.Data = decodeData(w.typeURL, w.data, v)
	}
	if w.unknown != nil {
		e.Unknown = decodeUnknown(w.unknown, v)
	}
	return e
}

func decodeUnknown(value []byte, v *violations) *structpb.Struct {
	s := &structpb.Struct{}
	if err := proto.Unmarshal(value, s); err != nil {
		v.add(reason.Undecodable, "unknown", "must be the bytes of a google.protobuf.Struct")
		return nil
	}
	return s
}

// wire is an envelope taken apart; its slices lie in the bytes read.
type wire struct {
	id, source, typ, tenant, subject, correlation []byte
	time, receivedAt                              wireTime
	typeURL, data                                 []byte
	hasData                                       bool
	// unknown is not nil where it is there; it is joined where it is there more than once, as Protobuf wants it.
	unknown []byte
	// content hashes all bytes but those of received_at.
	content uint64
}

type wireTime struct {
	present bool
	seconds int64
	nanos   int32
}

var commandPrefixBytes = []byte(commandPrefix)

var (
	errUTF8      = errors.New("a string is not UTF-8")
	errMalformed = errors.New("malformed or cut off")
)

func readWire(value []byte) (wire, error) {
	var w wire
	var hash xxhash.Digest
	hash.Reset()
	hashed := 0
	for at := 0; at < len(value); {
		number, kind, n := consumeTag(value[at:])
		if n < 0 {
			return w, errMalformed
		}
		start := at
		at += n
		if kind != protowire.BytesType || number > fieldUnknown {
			// Unknown here: skipped, as any reader of an older schema does.
			n = protowire.ConsumeFieldValue(number, kind, value[at:])
			if n < 0 {
				return w, errMalformed
			}
			at += n
			continue
		}
		b, n := protowire.ConsumeBytes(value[at:])
		if n < 0 {
			return w, errMalformed
		}
		at += n
		var err error
		switch number {
		case fieldID:
			w.id, err = text(b)
		case fieldSource:
			w.source, err = text(b)
		case fieldType:
			w.typ, err = text(b)
		case fieldTenant:
			w.tenant, err = text(b)
		case fieldSubject:
			w.subject, err = text(b)
		case fieldCorrelation:
			w.correlation, err = text(b)
		case fieldTime:
			err = w.time.merge(b)
		case fieldReceivedAt:
			_, _ = hash.Write(value[hashed:start])
			hashed = at
			err = w.receivedAt.merge(b)
		case fieldData:
			w.hasData = true
			err = w.mergeAny(b)
		case fieldUnknown:
			w.unknown = append(append(make([]byte, 0, len(w.unknown)+len(b)), w.unknown...), b...)
		}
		if err != nil {
			return w, err
		}
	}
	if bytes.HasPrefix(w.typ, commandPrefixBytes) {
		w.content = hashCommand(w.typ, w.typeURL, w.data)
		return w, nil
	}
	if hashed == 0 {
		w.content = nonZero(xxhash.Sum64(value))
	} else {
		_, _ = hash.Write(value[hashed:])
		w.content = nonZero(hash.Sum64())
	}
	return w, nil
}

// consumeTag also refuses field numbers that Protobuf does not have, as the generated decoder does.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	number, kind, n := protowire.ConsumeTag(b)
	if number > protowire.MaxValidNumber {
		return 0, 0, -1
	}
	return number, kind, n
}

func text(b []byte) ([]byte, error) {
	if !utf8.Valid(b) {
		return nil, errUTF8
	}
	return b, nil
}

// merge reads a google.protobuf.Timestamp; a field met twice counts as one message, as Protobuf wants it.
func (t *wireTime) merge(b []byte) error {
	t.present = true
	for len(b) > 0 {
		number, kind, n := consumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if kind != protowire.VarintType || number > fieldNanos {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return errMalformed
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if number == fieldSeconds {
			t.seconds = int64(v)
		} else {
			t.nanos = int32(v)
		}
	}
	return nil
}

func (w *wire) mergeAny(b []byte) error {
	for len(b) > 0 {
		number, kind, n := consumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if kind != protowire.BytesType || number > fieldValue {
			if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
				return errMalformed
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if number == fieldValue {
			w.data = v
			continue
		}
		var err error
		if w.typeURL, err = text(v); err != nil {
			return err
		}
	}
	return nil
}

// event makes the strings of the envelope, all in one piece of memory: they live and die together.
func (w *wire) event() *Event {
	e := &Event{content: w.content}
	if t, ok := byName[string(w.typ)]; ok {
		e.Type, w.typ = t.Name, nil // out of the catalog: nothing to copy
	}
	n := len(w.id) + len(w.source) + len(w.typ) + len(w.tenant) + len(w.subject) + len(w.correlation)
	var scratch [256]byte
	b := scratch[:0]
	if n > len(scratch) {
		b = make([]byte, 0, n)
	}
	for _, part := range [...][]byte{w.id, w.source, w.tenant, w.subject, w.correlation, w.typ} {
		b = append(b, part...)
	}
	all := string(b)
	take := func(part []byte) string {
		s := all[:len(part)]
		all = all[len(part):]
		return s
	}
	e.ID, e.Source, e.Tenant = take(w.id), take(w.source), take(w.tenant)
	e.Subject, e.Correlation = take(w.subject), take(w.correlation)
	if e.Type == "" {
		e.Type = take(w.typ)
	}
	return e
}

// times turns both into Go's; one out of Protobuf's range is a violation.
func (w *wire) times(e *Event, v *violations) {
	var ok bool
	if w.time.present {
		if e.Time, ok = timeOf(w.time.seconds, w.time.nanos); !ok {
			v.add(reason.Undecodable, "time", timeRange)
		}
	}
	if w.receivedAt.present {
		if e.ReceivedAt, ok = timeOf(w.receivedAt.seconds, w.receivedAt.nanos); !ok {
			v.add(reason.Undecodable, "received_at", timeRange)
		}
	}
}

const (
	timeRange = "must lie between the years 1 and 9999, with 0 to 999,999,999 nanoseconds"

	minSeconds = -62135596800 // 0001-01-01T00:00:00Z
	maxSeconds = 253402300799 // 9999-12-31T23:59:59Z
)

// timeOf cuts to milliseconds. Go's zero time, the first millisecond of the year 1, is an absent one.
func timeOf(seconds int64, nanos int32) (time.Time, bool) {
	if seconds < minSeconds || seconds > maxSeconds || nanos < 0 || nanos > 999_999_999 {
		return time.Time{}, false
	}
	return time.Unix(seconds, int64(nanos)/1e6*1e6).UTC(), true
}

var usageName = string((&eventv1.UsageCharged{}).ProtoReflect().Descriptor().FullName())

// decodeData is nil where a violation was added.
func decodeData[S string | []byte](typeURL S, value []byte, v *violations) proto.Message {
	name := typeURL
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			name = name[i+1:]
			break
		}
	}
	if string(name) == usageName {
		if u := decodeUsage(value); u != nil {
			return u
		}
	}
	mt, ok := byMessage[string(name)]
	if !ok {
		v.add(reason.UnknownData, "data", "%.200q is no message that events carry", typeURL)
		return nil
	}
	m := mt.New().Interface()
	if err := proto.Unmarshal(value, m); err != nil {
		v.add(reason.Undecodable, "data", "must be the bytes of a %s", name)
		return nil
	}
	return m
}

// byMessage finds the Go type of a message by its full name: every data message of the catalog, Struct, which custom
// types carry, and the control records and commands that this process knows.
var byMessage = func() map[string]protoreflect.MessageType {
	m := map[string]protoreflect.MessageType{}
	enter(m, &structpb.Struct{})
	for _, t := range catalog {
		enter(m, t.Data)
	}
	return m
}()

func enter(m map[string]protoreflect.MessageType, data proto.Message) {
	mt := data.ProtoReflect().Type()
	m[string(mt.Descriptor().FullName())] = mt
}

// RegisterControl makes the data of control records and commands known to Decode. Whoever writes and folds them calls
// it while the program is initialized, and at no other time.
func RegisterControl(data ...proto.Message) {
	for _, d := range data {
		enter(byMessage, d)
	}
}
