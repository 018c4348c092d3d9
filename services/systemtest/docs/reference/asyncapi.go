package reference

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/catalog"
	channels "github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/proto/tollgate"
)

type asyncObject = map[string]any

// Skipped is what consumers skip, of the topics that have it.
var Skipped = map[string]string{
	stream.EventsOrdered:   "records whose header ce_type begins with system. or command.",
	stream.EventsUnordered: "records whose header ce_type begins with system.",
	stream.Safeguards:      "records whose header ce_type begins with system.",
}

// AsyncAPI is the AsyncAPI 3 document of every topic: its key, its headers, its content types, what consumers skip, and a record
// of each kind as it is written.
func AsyncAPI(context.Context, string) (string, error) {
	examples, err := sampleRecords()
	if err != nil {
		return "", err
	}
	all, operations, messages := asyncObject{}, asyncObject{}, asyncObject{}
	prefix := stream.DefaultConfig().Prefix + "."
	for _, spec := range channels.Topics(1) {
		name := strings.ReplaceAll(spec.Name, ".", "_")
		what, ok := carriedBy(spec.Name)
		if !ok {
			return "", fmt.Errorf("topic %s: what it holds is missing in package reference", spec.Name)
		}
		refs, of := asyncObject{}, asyncObject{}
		for _, e := range examples[spec.Name] {
			m, err := e.message(what[0])
			if err != nil {
				return "", fmt.Errorf("topic %s: %w", spec.Name, err)
			}
			id := name + "_" + e.name
			messages[id] = m
			refs[e.name] = asyncObject{"$ref": "#/components/messages/" + id}
			of[e.name] = asyncObject{"$ref": "#/channels/" + name + "/messages/" + e.name}
		}
		if len(refs) == 0 {
			return "", fmt.Errorf("topic %s: it has no example in package reference", spec.Name)
		}
		description := "Value: " + plainText(what[1]) + "."
		if skipped := Skipped[spec.Name]; skipped != "" {
			description += " Consumers skip " + skipped + "."
		}
		all[name] = asyncObject{
			"address": prefix + spec.Name, "title": spec.Name, "description": description, "messages": refs,
			"bindings": asyncObject{"kafka": asyncObject{"topic": prefix + spec.Name, "bindingVersion": "0.5.0"}},
		}
		action := "send"
		if spec.Name == stream.EventsInbound {
			action = "receive"
		}
		var list []any
		for _, key := range sortedKeys(of) {
			list = append(list, of[key])
		}
		operations[action+"_"+name] = asyncObject{
			"action": action, "channel": asyncObject{"$ref": "#/channels/" + name}, "messages": list,
			"summary": map[string]string{"send": "Tollgate writes", "receive": "Tollgate reads"}[action] + " " + spec.Name + ".",
		}
	}
	headers := asyncObject{"type": "object", "properties": headerSchemas(recordHeaders)}
	rejected := asyncObject{"type": "object", "properties": headerSchemas(append(slices.Clip(recordHeaders), rejectedHeaders...))}
	schemas := asyncObject{"headers": headers, "rejectedHeaders": rejected}
	for _, t := range catalog.BuiltIn() {
		schemas[strings.ReplaceAll(strings.TrimPrefix(t.GetName(), catalog.Collection+"/"), ".", "_")] = asyncObject{"$ref": "./" + schemaFile(t)}
	}
	return written(asyncObject{
		"asyncapi": "3.0.0",
		"info": asyncObject{
			"title": "Tollgate", "version": "1",
			"description": "The Kafka topics of Tollgate. The prefix of topics is configurable (kafka.prefix). Values are Protobuf but on events.inbound and events.rejected; " +
				"payloads of examples are shown in Protobuf's JSON, and x-record has the key of the same record and the bytes of its value in base64.",
		},
		"defaultContentType": "application/protobuf",
		"channels":           all, "operations": operations,
		"components": asyncObject{"messages": messages, "schemas": schemas},
	})
}

// carriedBy is the key and the value of a topic.
func carriedBy(topic string) ([2]string, bool) {
	if what, ok := carried[topic]; ok {
		return what, true
	}
	for _, c := range channels.Channels.Served() {
		if c.Topic == topic {
			return [2]string{"ordering key", "`delivery.v1.Delivery`"}, true
		}
	}
	return [2]string{}, false
}

// plainText is a text in Markdown without its marks.
func plainText(s string) string {
	for {
		begin := strings.Index(s, "](")
		end := strings.Index(s[max(begin, 0):], ")")
		if begin < 0 || end < 0 {
			return strings.NewReplacer("`", "", "[", "").Replace(s)
		}
		s = s[:begin] + s[begin+end+1:]
	}
}

func headerSchemas(headers [][2]string) asyncObject {
	out := asyncObject{}
	for _, h := range headers {
		out[h[0]] = asyncObject{"type": "string", "description": plainText(h[1])}
	}
	return out
}

// sampleRecord is a record of a topic as it is written.
type sampleRecord struct {
	name, contentType string
	record            stream.Record
	// value is the message of the record; nil where it is JSON.
	value proto.Message
	// headers is the schema of its headers.
	headers string
}

func (e sampleRecord) message(key string) (asyncObject, error) {
	headers := asyncObject{}
	for _, h := range e.record.Headers {
		headers[h.Key] = string(h.Value)
	}
	example := asyncObject{"name": e.name, "headers": headers}
	if e.headers == "" {
		e.headers = "headers"
	}
	m := asyncObject{
		"name": e.name, "contentType": e.contentType, "headers": asyncObject{"$ref": "#/components/schemas/" + e.headers},
		"bindings": asyncObject{"kafka": asyncObject{"key": asyncObject{"type": "string", "description": plainText(key)}, "bindingVersion": "0.5.0"}},
		"examples": []any{example},
		"x-record": asyncObject{"key": string(e.record.Key), "value": base64.StdEncoding.EncodeToString(e.record.Value)},
	}
	if e.value == nil {
		var payload any
		if err := json.Unmarshal(e.record.Value, &payload); err != nil {
			return nil, fmt.Errorf("example %s: %w", e.name, err)
		}
		example["payload"] = payload
		m["payload"] = asyncObject{"type": "object"}
		return m, nil
	}
	payload, err := jsonOf(e.value)
	if err != nil {
		return nil, fmt.Errorf("example %s: %w", e.name, err)
	}
	example["payload"] = payload
	source, err := protoSource(e.value.ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	m["title"] = string(e.value.ProtoReflect().Descriptor().FullName())
	m["payload"] = asyncObject{"schemaFormat": "application/vnd.google.protobuf;version=3", "schema": source}
	return m, nil
}

func jsonOf(m proto.Message) (any, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// protoSource is the .proto file of a message.
func protoSource(d protoreflect.MessageDescriptor) (string, error) {
	text, err := tollgate.Sources.ReadFile(strings.TrimPrefix(d.ParentFile().Path(), "tollgate/"))
	if err != nil {
		return "", fmt.Errorf("read the schema of %s: %w", d.FullName(), err)
	}
	return string(text), nil
}

// written is JSON for people to compare: indented, the same each time.
func written(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("write AsyncAPI: %w", err)
	}
	return b.String(), nil
}

func sortedKeys(m asyncObject) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sampleTime is that of every example.
var sampleTime = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
