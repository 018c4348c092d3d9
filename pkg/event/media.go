package event

import (
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
)

// Content types of CloudEvents in structured mode, and of a batch.
const (
	ContentTypeCloudEvent         = "application/cloudevents+json"
	ContentTypeCloudEventProtobuf = "application/cloudevents+protobuf"
	ContentTypeBatch              = "application/cloudevents-batch+json"

	cloudEventsPrefix = "application/cloudevents"
)

// ContentTypes are what a producer may send by HTTP, as a header Accept has it.
const ContentTypes = ContentTypeCloudEvent + ", " + ContentTypeCloudEventProtobuf + ", " + ContentTypeBatch +
	", application/json, " + ContentTypeProtobuf

// mediaType is the content type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// IsBatch reports that a body of this content type is a batch of CloudEvents in JSON.
func IsBatch(contentType string) bool { return mediaType(contentType) == ContentTypeBatch }

// IsForeign reports that a request of this content type is rejected for it, whatever its body is.
func IsForeign(contentType string) bool {
	media := mediaType(contentType)
	if strings.HasPrefix(media, cloudEventsPrefix) {
		return media != ContentTypeCloudEvent && media != ContentTypeCloudEventProtobuf && media != ContentTypeBatch
	}
	return !isJSON(media) && !isProtobuf(media)
}

// isJSON reports that data of this media type is JSON. CloudEvents makes it the type of data that has none.
func isJSON(media string) bool {
	return media == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

// isProtobuf reports that data of this media type is Protobuf; it has names from before the registered one.
func isProtobuf(media string) bool {
	return media == ContentTypeProtobuf || media == "application/x-protobuf" ||
		media == "application/vnd.google.protobuf"
}

const (
	wantFraming = "begins with a zero byte, as what a serializer of a schema registry writes: " +
		"send the bare bytes, by a serializer that puts none before them"
	wantWhole = "must be " + ContentTypeCloudEvent + " where the value is a whole CloudEvent in JSON"
	wantBatch = "must be one CloudEvent: batches are taken by HTTP as " + ContentTypeBatch
)

// isFramed reports that a value begins with the frame of a schema registry: a zero byte and the number of a schema.
// Neither JSON nor a message in Protobuf begins so.
func isFramed(value []byte) bool { return len(value) >= 5 && value[0] == 0 }

// firstOf is the first byte of a text that is neither space nor part of a byte-order mark.
func firstOf(value []byte) byte {
	for _, c := range value {
		if !strings.ContainsRune(" \t\r\n", rune(c)) && !slices.Contains([]byte("\xef\xbb\xbf"), c) {
			return c
		}
	}
	return 0
}

// kafkaHeaders are those of a record that are read, by name; one that is there twice is a violation.
func kafkaHeaders(r stream.Record, v *violations) func(name string) string {
	var seen [len(attributes)]bool
	for _, h := range r.Headers {
		name, ours := strings.CutPrefix(h.Key, attributePrefix)
		if h.Key == HeaderContentType {
			name, ours = attributeDataContentType, true
		}
		at := slices.Index(attributes[:], name)
		if !ours || at < 0 {
			continue
		}
		if seen[at] && !v.names(name) {
			v.add(reason.Undecodable, name, "must not be there twice")
		}
		seen[at] = true
	}
	return func(name string) string {
		value, _ := r.Header(name)
		switch string(value) { // most have one of these, which then is no text of its own
		case "":
			return ""
		case ContentTypeProtobuf:
			return ContentTypeProtobuf
		case SchemaEvent:
			return SchemaEvent
		}
		return string(value)
	}
}

// Names of attributes have a prefix in headers: attributePrefix on Kafka, httpPrefix over HTTP.
const (
	attributePrefix = "ce_"
	httpPrefix      = "ce-"
)

var unhyphened = strings.NewReplacer("-", "", "_", "")

// misspelt adds a violation for each header that means one that is missing.
func misspelt(r stream.Record, v *violations) {
	there := map[string]bool{}
	for _, h := range r.Headers {
		there[h.Key] = true
	}
	for _, h := range r.Headers {
		plain := strings.ToLower(unhyphened.Replace(h.Key))
		var means, why string
		switch attribute, isAttribute := strings.CutPrefix(strings.ToLower(h.Key), httpPrefix); {
		case isAttribute && slices.Contains(attributes[:], attribute):
			means, why = attributePrefix+attribute, "on Kafka attributes are headers that begin with ce_"
		case plain == "contenttype" || plain == "cedatacontenttype":
			means, why = HeaderContentType, "names of headers are compared to the letter"
		default:
			continue
		}
		if !there[means] && !v.names(means) {
			v.add(reason.Undecodable, means, "must be spelt so, is %.60q: %s", h.Key, why)
		}
	}
}

// notOurs is why a value without a content type is no Event; otherwise holds the violations of its decoder.
func notOurs(value []byte, otherwise violations) error {
	var v violations
	switch first := firstOf(value); {
	case isFramed(value):
		v.add(reason.Undecodable, "", wantFraming)
	case first == '{':
		v.add(reason.Undecodable, HeaderContentType,
			wantWhole+", or the headers ce_id, ce_source and so on be there where it is data alone")
	case first == '[':
		v.add(reason.Undecodable, "", wantBatch)
	default:
		return otherwise.err()
	}
	return v.err()
}

// once is the value of a header of HTTP, which must not be there twice.
func once(values []string, name string, v *violations) string {
	switch len(values) {
	case 0:
		return ""
	case 1:
		return values[0]
	}
	v.add(reason.Undecodable, name, "must not be there twice")
	return values[0]
}
