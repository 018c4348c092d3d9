package catalog

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/tollgate/tollgate/pkg/event"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// schemaURI is that of JSON Schema 2020-12.
const schemaURI = "https://json-schema.org/draft/2020-12/schema"

// object is a JSON object that keeps its order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	b := bytes.NewBufferString("{")
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// JSONSchema is the schema of a type's events as CloudEvents in JSON, of draft 2020-12. It has the one form that a producer
// should write: ingest takes more, such as names of fields in snake_case, and null for what is not there.
func JSONSchema(t *configv1.EventType) string {
	typ := t.GetName()[strings.LastIndexByte(t.GetName(), '/')+1:]
	text := func(most int) object { return object{{"type", "string"}, {"minLength", 1}, {"maxLength", most}} }
	subject := text(event.MaxSubject)
	if t.GetSubscriber() {
		subject = object{{"type", "string"}, {"pattern", `^\+?[1-9][0-9]{4,14}$`}, {"description", "MSISDN: " + event.FormMSISDN + "."}}
	}
	required := []string{"specversion", "id", "source", "type", "time", "tenant", "data"}
	if t.GetQueue() != configv1.EventQueue_EVENT_QUEUE_UNORDERED {
		required = append(required, "subject")
	}
	schema := object{
		{"$schema", schemaURI}, {"$id", "urn:tollgate:event:" + typ}, {"title", typ}, {"description", t.GetDescription()},
		{"type", "object"},
		{"properties", object{
			{"specversion", object{{"const", "1.0"}}},
			{"id", text(event.MaxID)}, {"source", text(event.MaxSource)},
			{"type", object{{"const", typ}}},
			{"subject", subject},
			{"time", object{{"type", "string"}, {"format", "date-time"}}},
			{"datacontenttype", object{{"const", "application/json"}}},
			{"tenant", text(event.MaxTenant)},
			{"correlation", object{{"type", "string"}, {"maxLength", event.MaxCorrelation}}},
			{"traceparent", object{{"type", "string"}}},
			{"data", objectSchema(t.GetFields())},
		}},
		{"required", required},
	}
	if uses(t.GetFields(), configv1.FieldKind_FIELD_KIND_MONEY) {
		schema = append(schema, member{"$defs", object{{"money", object{
			{"type", "object"}, {"description", "An amount: units and billionths, of one sign (google.type.Money)."},
			{"properties", object{
				{"currencyCode", object{{"type", "string"}, {"pattern", "^[A-Z]{3}$"}}},
				{"units", wholeNumber()}, {"nanos", object{{"type", "integer"}, {"minimum", -999_999_999}, {"maximum", 999_999_999}}},
			}},
			{"required", []string{"currencyCode"}}, {"additionalProperties", false},
		}}}})
	}
	out, err := json.Marshal(schema)
	var indented bytes.Buffer
	if err == nil {
		err = json.Indent(&indented, out, "", "  ")
	}
	if err != nil {
		panic("write the schema of " + typ + ": " + err.Error()) // it is made of texts and numbers
	}
	// Marshal escapes what HTML would need, once a MarshalJSON returns.
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(indented.String()) + "\n"
}

func wholeNumber() object {
	return object{{"anyOf", []object{{{"type", "integer"}}, {{"type", "string"}, {"pattern", "^-?[0-9]+$"}}}}}
}

func uses(fields []*configv1.EventField, kind configv1.FieldKind) bool {
	for _, f := range fields {
		if f.GetKind() == kind || uses(f.GetFields(), kind) {
			return true
		}
	}
	return false
}

func objectSchema(fields []*configv1.EventField) object {
	properties := object{}
	var required []string
	for _, f := range fields {
		value := valueSchema(f)
		if f.GetRepeated() {
			value = object{{"type", "array"}, {"items", value}}
			if f.GetRequired() {
				value = append(value, member{"minItems", 1})
			}
			if f.GetMaxItems() > 0 {
				value = append(value, member{"maxItems", f.GetMaxItems()})
			}
		}
		description := f.GetDescription()
		switch {
		case f.GetContact():
			description += " Contact data."
		case f.GetPersonal():
			description += " Personal data."
		}
		if description = strings.TrimSpace(description); description != "" {
			value = append(value, member{"description", description})
		}
		properties = append(properties, member{f.GetName(), value})
		if f.GetRequired() {
			required = append(required, f.GetName())
		}
	}
	out := object{{"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		out = append(out, member{"required", required})
	}
	return append(out, member{"additionalProperties", false})
}

func valueSchema(f *configv1.EventField) object {
	switch f.GetKind() {
	case configv1.FieldKind_FIELD_KIND_INTEGER:
		out := wholeNumber()
		if f.Minimum != nil || f.Maximum != nil {
			out = append(out, bounds(f)...)
		}
		return out
	case configv1.FieldKind_FIELD_KIND_NUMBER:
		return append(object{{"type", "number"}}, bounds(f)...)
	case configv1.FieldKind_FIELD_KIND_BOOLEAN:
		return object{{"type", "boolean"}}
	case configv1.FieldKind_FIELD_KIND_TIMESTAMP, configv1.FieldKind_FIELD_KIND_DATE:
		return object{{"type", "string"}, {"format", "date-time"}}
	case configv1.FieldKind_FIELD_KIND_DURATION:
		return object{{"type", "string"}, {"pattern", `^-?[0-9]+(\.[0-9]{1,9})?s$`}}
	case configv1.FieldKind_FIELD_KIND_MONEY:
		return object{{"$ref", "#/$defs/money"}}
	case configv1.FieldKind_FIELD_KIND_MAP:
		return object{{"type", "object"}}
	case configv1.FieldKind_FIELD_KIND_OBJECT:
		return objectSchema(f.GetFields())
	}
	out := object{{"type", "string"}}
	if len(f.GetValues()) > 0 {
		out = append(out, member{"enum", f.GetValues()})
	}
	if f.GetMaxLength() > 0 {
		out = append(out, member{"maxLength", f.GetMaxLength()})
	}
	return out
}

func bounds(f *configv1.EventField) (out object) {
	if f.Minimum != nil {
		out = append(out, member{"minimum", f.GetMinimum()})
	}
	if f.Maximum != nil {
		out = append(out, member{"maximum", f.GetMaximum()})
	}
	return out
}
