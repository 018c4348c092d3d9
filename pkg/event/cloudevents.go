package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Attributes of CloudEvents 1.0 that an event has, and our extensions. All others are ignored.
const (
	attributeSpecVersion     = "specversion"
	attributeID              = "id"
	attributeSource          = "source"
	attributeType            = "type"
	attributeSubject         = "subject"
	attributeTime            = "time"
	attributeDataContentType = "datacontenttype"
	attributeTenant          = "tenant"
	attributeCorrelation     = "correlation"
	attributeTrace           = "traceparent"
)

// attributes are all of them that are read.
var attributes = [...]string{
	attributeSpecVersion, attributeID, attributeSource, attributeType, attributeSubject, attributeTime,
	attributeDataContentType,
	attributeTenant, attributeCorrelation, attributeTrace,
}

// fromAttributes maps the attributes one to one; an absent one reads as empty.
func fromAttributes(attribute func(name string) string, v *violations) *Event {
	if got := attribute(attributeSpecVersion); got != specVersion && !v.names(attributeSpecVersion) {
		v.add(reason.Undecodable, attributeSpecVersion, "must be %s, is %.20q", specVersion, got)
	}
	e := &Event{
		ID: attribute(attributeID), Source: attribute(attributeSource), Type: attribute(attributeType),
		Tenant: attribute(attributeTenant), Subject: attribute(attributeSubject),
		Correlation: attribute(attributeCorrelation), Trace: attribute(attributeTrace),
	}
	if text := attribute(attributeTime); text != "" {
		t, err := ParseTime(text)
		switch {
		case err != nil:
			v.add(reason.Undecodable, attributeTime, "%s", err)
		case t.Unix() < minSeconds || t.Unix() > maxSeconds:
			v.add(reason.Undecodable, attributeTime, timeRange)
		default:
			e.Time = t
		}
	}
	return e
}

// binary reads binary mode: attributes beside the value, which is the data alone.
func (p Parser) binary(media string, attribute func(name string) string, value []byte, v *violations) *Event {
	e := fromAttributes(attribute, v)
	if len(value) == 0 && isJSON(media) {
		return e // no data at all: an empty message in Protobuf, but nothing in JSON
	}
	p.data(e, media, value, v)
	return e
}

// structured reads structured mode: the value is a whole CloudEvent.
func (p Parser) structured(media string, value []byte, v *violations) *Event {
	switch media {
	case ContentTypeCloudEvent:
		return p.object(value, v)
	case ContentTypeCloudEventProtobuf:
		return p.format(value, v)
	case ContentTypeBatch:
		v.add(reason.Undecodable, "", wantBatch)
	default:
		v.add(reason.MediaTypeUnsupported, HeaderContentType, "%.100q is not taken, %s and %s are", media, ContentTypeCloudEvent,
			ContentTypeCloudEventProtobuf)
	}
	return nil
}

func (p Parser) object(object []byte, v *violations) *Event {
	if isFramed(object) {
		v.add(reason.Undecodable, "", wantFraming)
		return nil
	}
	var fields map[string]json.RawMessage
	if err := ReadJSON(object, &fields); err != nil || fields == nil {
		v.add(reason.Undecodable, "", "must be a CloudEvent as a JSON object%s", because(err))
		return nil
	}
	e := fromAttributes(func(name string) string { return stringField(fields, name, v) }, v)
	media := mediaType(stringField(fields, attributeDataContentType, v))
	data, inJSON := present(fields, "data")
	encoded, inBase64 := present(fields, "data_base64")
	switch {
	case inJSON && inBase64:
		v.add(reason.Undecodable, "data", "must not be there beside data_base64")
	case inJSON && !isJSON(media):
		v.add(reason.Undecodable, "data", "must be data_base64 where datacontenttype is %.100q", media)
	case inJSON:
		p.data(e, media, data, v)
	case inBase64:
		var text string
		value, err := []byte(nil), json.Unmarshal(encoded, &text)
		if err == nil {
			value, err = base64.StdEncoding.DecodeString(text)
		}
		if err != nil {
			v.add(reason.Undecodable, "data", "data_base64 must be a string of base64")
			break
		}
		p.data(e, media, value, v)
	}
	return e
}

// present reports whether a member is there; null means that it is not.
func present(fields map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	raw, ok := fields[name]
	return raw, ok && !bytes.Equal(raw, []byte("null"))
}

func stringField(fields map[string]json.RawMessage, name string, v *violations) string {
	raw, ok := present(fields, name)
	if !ok {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		v.add(reason.Undecodable, name, "must be a string")
	}
	return s
}

// Parsed is one event of a batch, or what is wrong with it; see ParseKafka.
type Parsed struct {
	Event *Event
	Err   error
}

// ParseBatch reads a batch of CloudEvents, a JSON array of at most limit, and validates each for itself: a violation of
// one refuses no other. The error means that the batch as a whole could not be read, BATCH_TOO_LARGE that it has more.
//
// parse is ParseJSON, or the caller's own way of calling it. It sees nothing of a batch that is refused: an element may
// be two bytes long, and its violations take a hundred times that.
func ParseBatch(body []byte, limit int, parse func(object []byte) (*Event, error)) ([]Parsed, error) {
	objects, err := SplitBatch(body, limit)
	if err != nil {
		return nil, err
	}
	parsed := make([]Parsed, len(objects))
	for i, o := range objects {
		parsed[i].Event, parsed[i].Err = parse(o)
	}
	return parsed, nil
}

// SplitBatch is the objects of such a batch, with its errors.
func SplitBatch(body []byte, limit int) ([][]byte, error) {
	var objects [][]byte
	refuse := func(err error) ([][]byte, error) {
		return nil, fault.NewInvalid(reason.Undecodable, fault.Violation{
			Description: "must be a JSON array of CloudEvents" + because(err),
		})
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if open, err := d.Token(); err != nil || open != json.Delim('[') {
		return refuse(err)
	}
	for d.More() {
		if len(objects) == limit {
			return nil, fault.NewInvalid(reason.BatchTooLarge,
				fault.Violation{Field: "events", Description: fmt.Sprintf("must be at most %d", limit)})
		}
		var o json.RawMessage
		if err := d.Decode(&o); err != nil {
			return refuse(err)
		}
		objects = append(objects, o)
	}
	if _, err := d.Token(); err != nil {
		return refuse(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return refuse(errors.New("something follows it"))
	}
	return objects, nil
}

// data reads data into the message of the event's type; there is none where a violation was added, or where the type is not
// known, which is a violation of its own.
func (p Parser) data(e *Event, media string, value []byte, v *violations) {
	t := byName[e.Type]
	if t == nil && !IsControl(e.Type) && p.tenants().Declared(e.Tenant, e.Type) != nil {
		t = &declaredType
	}
	if t == nil {
		v.fields = append(v.fields, "data") // there, but not read
		return
	}
	m := t.Data.ProtoReflect().New().Interface()
	name := t.Data.ProtoReflect().Descriptor().FullName()
	switch {
	case isFramed(value):
		v.add(reason.Undecodable, "data", wantFraming)
		return
	case isJSON(media):
		err := checkJSON(value)
		if err == nil {
			e.Unknown, err = readKnown(value, m)
		}
		if err != nil {
			v.add(reason.Undecodable, "data", "must be a %s in JSON%s", name, because(err))
			return
		}
	case isProtobuf(media):
		if err := proto.Unmarshal(value, m); err != nil {
			v.add(reason.Undecodable, "data", "must be the bytes of a %s", name)
			return
		}
	default:
		v.add(reason.MediaTypeUnsupported, "data", "content type %.100q is not taken, application/json and %s are", media,
			ContentTypeProtobuf)
		return
	}
	e.Data = m
}

// declaredType has the data of every type that a tenant declares, as it is on the wire.
var declaredType = Type{Data: &structpb.Struct{}}

// because is a parser's message, without the prefixes and the odd spaces by which Protobuf keeps its texts unstable.
func because(err error) string {
	if err == nil {
		return ""
	}
	text := strings.Map(func(r rune) rune {
		if r == '\u00a0' {
			return ' '
		}
		return r
	}, err.Error())
	text = strings.TrimPrefix(strings.TrimPrefix(text, "proto: "), "json: ")
	const limit = 200
	if len(text) > limit {
		text = strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return ": " + text
}

// headerValue undoes the two encodings that the HTTP binding gives values of headers: a string in double quotes, of its
// older versions, then per cents.
func headerValue(value, attribute string, v *violations) string {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = unquoted(value[1 : n-1])
	}
	if !strings.Contains(value, "%") {
		return value
	}
	s, err := url.PathUnescape(value)
	if err != nil || !utf8.ValidString(s) {
		v.add(reason.Undecodable, attribute, "must be percent-encoded UTF-8")
		return ""
	}
	return s
}

// unquoted takes backslashes out of a quoted-string as of RFC 9110: the character after one is taken as it is.
func unquoted(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}
