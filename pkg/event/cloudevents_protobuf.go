package event

import (
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tollgate/tollgate/pkg/reason"
)

// Fields of io.cloudevents.v1.CloudEvent, of an entry of its map, and of CloudEventAttributeValue, by number.
const (
	formatID protowire.Number = 1 + iota
	formatSource
	formatSpecVersion
	formatType
	formatAttributes
	formatBinaryData
	formatTextData
	formatProtoData
)

const (
	entryName  protowire.Number = 1
	entryValue protowire.Number = 2

	attributeString       protowire.Number = 3
	attributeURI          protowire.Number = 5
	attributeURIReference protowire.Number = 6
	attributeTimestamp    protowire.Number = 7
)

// format is a CloudEvent in Protobuf, taken apart.
type format struct {
	attributes map[string]string
	// kind is which of the three forms the data has, 0 where there is none.
	kind protowire.Number
	data []byte
}

// format reads the Protobuf format of CloudEvents: the one message it needs, by hand.
func (p Parser) format(value []byte, v *violations) *Event {
	f := format{attributes: map[string]string{}}
	if err := f.read(value, v); err != nil {
		v.add(reason.Undecodable, "", "must be an io.cloudevents.v1.CloudEvent: %s", err)
		return nil
	}
	e := fromAttributes(func(name string) string { return f.attributes[name] }, v)
	media := mediaType(f.attributes[attributeDataContentType])
	switch f.kind {
	case formatBinaryData:
		if media == "" {
			v.add(reason.Undecodable, attributeDataContentType,
				"is required, as the type of binary_data: application/json or %s", ContentTypeProtobuf)
			v.fields = append(v.fields, "data") // there, but not to be read
			break
		}
		p.data(e, media, f.data, v)
	case formatTextData:
		if !isJSON(media) {
			v.add(reason.Undecodable, "data", "must be binary_data or proto_data where datacontenttype is %.100q", media)
			break
		}
		p.data(e, media, f.data, v)
	case formatProtoData:
		var w wire
		if err := w.mergeAny(f.data); err != nil {
			v.add(reason.Undecodable, "data", "must be a google.protobuf.Any: %s", err)
			break
		}
		e.Data = decodeData(w.typeURL, w.data, v)
	}
	return e
}

func (f *format) read(value []byte, v *violations) error {
	return eachBytes(value, func(number protowire.Number, b []byte) error {
		switch number {
		case formatID:
			return f.text(attributeID, b)
		case formatSource:
			return f.text(attributeSource, b)
		case formatSpecVersion:
			return f.text(attributeSpecVersion, b)
		case formatType:
			return f.text(attributeType, b)
		case formatAttributes:
			return f.attribute(b, v)
		case formatBinaryData, formatProtoData:
			f.kind, f.data = number, b
		case formatTextData:
			f.kind, f.data = number, b
			_, err := text(b)
			return err
		}
		return nil
	})
}

func (f *format) text(name string, b []byte) error {
	s, err := text(b)
	f.attributes[name] = string(s)
	return err
}

// attribute reads an entry of the map, where it is one that is read.
func (f *format) attribute(entry []byte, v *violations) error {
	var name string
	var value []byte
	err := eachBytes(entry, func(number protowire.Number, b []byte) error {
		switch number {
		case entryName:
			s, err := text(b)
			name = string(s)
			return err
		case entryValue:
			value = b
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !slices.Contains(attributes[:], name) {
		return nil // however many there are
	}
	if _, twice := f.attributes[name]; twice {
		v.add(reason.Undecodable, name, "must not be there twice")
		return nil
	}
	f.attributes[name] = ""
	known := false
	err = eachBytes(value, func(number protowire.Number, b []byte) error {
		switch number {
		case attributeString, attributeURI, attributeURIReference:
			known = true
			return f.text(name, b)
		case attributeTimestamp:
			known = true
			return f.time(name, b, v)
		}
		return nil
	})
	if err == nil && !known {
		v.add(reason.Undecodable, name, "must be a string")
	}
	return err
}

func (f *format) time(name string, b []byte, v *violations) error {
	var t wireTime
	if err := t.merge(b); err != nil {
		return err
	}
	at, ok := timeOf(t.seconds, t.nanos)
	if !ok {
		v.add(reason.Undecodable, name, timeRange)
		return nil
	}
	f.attributes[name] = at.Format(time.RFC3339Nano)
	return nil
}

// eachBytes calls f for each field of a message that has a length, in their order, and skips all others.
func eachBytes(b []byte, f func(number protowire.Number, value []byte) error) error {
	for len(b) > 0 {
		number, kind, n := consumeTag(b)
		if n < 0 {
			return errMalformed
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return errMalformed
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b[:n])
			if err := f(number, value); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}
