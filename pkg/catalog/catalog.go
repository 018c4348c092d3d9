package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/proto/tollgate"
)

// Collection is before the name of each built-in type, and in those of tenants behind theirs.
const Collection = "eventTypes"

// Name is the resource name of a built-in type.
func Name(typ string) string { return Collection + "/" + typ }

// BuiltIn are the built-in types in the order of their names. They must not be changed.
func BuiltIn() []*configv1.EventType { return builtIn().all }

// Find is the built-in type of a resource name; nil where there is none. It must not be changed.
func Find(name string) *configv1.EventType { return builtIn().byName[name] }

type types struct {
	all    []*configv1.EventType
	byName map[string]*configv1.EventType
}

var builtIn = sync.OnceValue(func() types {
	out := types{byName: map[string]*configv1.EventType{}}
	for _, t := range event.Types() {
		r := &configv1.EventType{
			Name: Name(t.Name), Subscriber: t.Subscriber, Operation: operations[t.Operation], Queue: queues[t.Queue],
			Description: summary(t),
			Fields:      fieldsOf(t.Data.ProtoReflect().Descriptor()),
		}
		complete(r, t)
		out.all = append(out.all, r)
		out.byName[r.GetName()] = r
	}
	return out
})

var (
	operations = map[event.Operation]configv1.EventOperation{
		event.Other: configv1.EventOperation_EVENT_OPERATION_OTHER, event.Create: configv1.EventOperation_EVENT_OPERATION_CREATE,
		event.Update: configv1.EventOperation_EVENT_OPERATION_UPDATE, event.Delete: configv1.EventOperation_EVENT_OPERATION_DELETE,
	}
	queues = map[event.Queue]configv1.EventQueue{
		event.Ordered: configv1.EventQueue_EVENT_QUEUE_ORDERED, event.Unordered: configv1.EventQueue_EVENT_QUEUE_UNORDERED,
	}
)

// Complete fills in what follows from a declared type.
func Complete(r *configv1.EventType, t *event.Type) { complete(r, *t) }

// Clear takes out what the server sets.
func Clear(r *configv1.EventType) {
	r.Entity, r.Reserved, r.Tokens, r.Example, r.DataMessage = "", false, nil, "", ""
}

func complete(r *configv1.EventType, t event.Type) {
	r.Entity, r.Reserved = t.Entity, t.Reserved
	r.DataMessage = string(t.Wire().ProtoReflect().Descriptor().FullName())
	r.Tokens = tokensOf(t)
	tenant := exampleTenant
	if of, _ := channel.SplitName(r.GetName(), Collection); of != "" {
		tenant = of
	}
	r.Example = example(t, tenant)
}

// exampleTime is that of every example.
var exampleTime = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

const (
	exampleTenant = "acme"
	exampleSource = "billing.example.com"
)

// Example is the event that a type's example shows.
func Example(t event.Type) *event.Event {
	e := t.Sample(exampleTenant, "sample-1", exampleTime)
	if e.ReceivedAt = (time.Time{}); !t.Reserved {
		e.Source = exampleSource
	}
	return e
}

// cloudEvent is a CloudEvent in JSON, in the order in which its attributes are shown.
type cloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            string          `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Tenant          string          `json:"tenant"`
	Data            json.RawMessage `json:"data"`
}

func example(t event.Type, tenant string) string {
	e := Example(t)
	e.Tenant = tenant
	data, err := DataJSON(e.Data)
	if err != nil {
		panic("write the example of " + t.Name + ": " + err.Error()) // a sample is valid, in every test
	}
	text := &bytes.Buffer{}
	enc := json.NewEncoder(text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(cloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: e.Source, Type: e.Type, Subject: e.Subject, Time: e.Time.Format(event.TimeLayout),
		DataContentType: "application/json", Tenant: e.Tenant, Data: data,
	}); err != nil {
		panic("write the example of " + t.Name + ": " + err.Error())
	}
	return text.String()
}

// DataJSON is the data of an event in Protobuf's JSON, the same text each time.
func DataJSON(data proto.Message) (json.RawMessage, error) {
	loose, err := protojson.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("write data as JSON: %w", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, loose); err != nil {
		return nil, fmt.Errorf("write data as JSON: %w", err)
	}
	return compact.Bytes(), nil
}

// comments are those of the .proto files, by full name.
var comments = sync.OnceValue(func() map[string]string {
	all, err := tollgate.Comments()
	if err != nil {
		panic("read the comments of .proto files: " + err.Error()) // they are part of this binary
	}
	return all
})

// comment is one as a sentence.
func comment(fullName string) string { return strings.Join(strings.Fields(comments()[fullName]), " ") }

// summary is what a type is for: the comment of its message.
func summary(t event.Type) string {
	return comment(string(t.Data.ProtoReflect().Descriptor().FullName()))
}
