package catalog

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/rules"
	"github.com/tollgate/tollgate/pkg/template"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
)

// fieldsOf are the fields of a message of the catalog, as a declaration would have them.
func fieldsOf(d protoreflect.MessageDescriptor) []*configv1.EventField {
	out := make([]*configv1.EventField, d.Fields().Len())
	for i := range out {
		f := d.Fields().Get(i)
		personal, contact := event.PersonalField(f)
		one := &configv1.EventField{
			Name: f.JSONName(), Kind: kindOf(f), Repeated: f.IsList(), Personal: personal, Contact: contact,
			Description: comment(string(f.FullName())),
		}
		if f.Enum() != nil {
			for j := range f.Enum().Values().Len() {
				one.Values = append(one.Values, string(f.Enum().Values().Get(j).Name()))
			}
		}
		if one.GetKind() == configv1.FieldKind_FIELD_KIND_OBJECT {
			one.Fields = fieldsOf(f.Message())
		}
		out[i] = one
	}
	return out
}

func kindOf(f protoreflect.FieldDescriptor) configv1.FieldKind {
	switch {
	case f.IsMap():
		return configv1.FieldKind_FIELD_KIND_MAP
	case f.Kind() == protoreflect.BoolKind:
		return configv1.FieldKind_FIELD_KIND_BOOLEAN
	case f.Kind() == protoreflect.DoubleKind || f.Kind() == protoreflect.FloatKind:
		return configv1.FieldKind_FIELD_KIND_NUMBER
	case f.Kind() == protoreflect.StringKind || f.Enum() != nil || f.Kind() == protoreflect.BytesKind:
		return configv1.FieldKind_FIELD_KIND_TEXT
	case f.Message() == nil:
		return configv1.FieldKind_FIELD_KIND_INTEGER
	}
	switch f.Message().FullName() {
	case "google.type.Money":
		return configv1.FieldKind_FIELD_KIND_MONEY
	case "google.protobuf.Timestamp":
		if event.DateField(f) {
			return configv1.FieldKind_FIELD_KIND_DATE
		}
		return configv1.FieldKind_FIELD_KIND_TIMESTAMP
	case "google.protobuf.Duration":
		return configv1.FieldKind_FIELD_KIND_DURATION
	case "google.protobuf.Struct":
		return configv1.FieldKind_FIELD_KIND_MAP
	}
	return configv1.FieldKind_FIELD_KIND_OBJECT
}

// kinds of tokens, in the words that the documents of texts have.
var kinds = map[template.Kind]string{
	template.Text: "text", template.Number: "number", template.Boolean: "boolean", template.List: "list",
	template.Money: "money", template.Moment: "moment", template.Date: "date",
}

// described are the tokens that stand for no field of the data.
var described = map[string]string{
	".Core.CurrentTime":     "Time of day in UTC when the event was received.",
	".Core.CurrentDate":     "Day in UTC when the event was received.",
	".Core.CurrentDateTime": "When the event was received.",
	".Core.Tenant":          "Display name of the tenant.",
	".Core.EventName":       "Type of the event.",
	".Core.EventId":         "Id of the event.",
	".Core.Firing":          "What fired of a notification that keeps a state: a threshold, a direction, the due time of a timer.",
	".Event.Time":           "When it happened, by the producer's clock.",
	".Subscriber.Msisdn":    "The subscriber's number.",
	".Sms.Sender":           "The sender's number.",
}

func tokensOf(t event.Type) []*configv1.EventToken {
	var declared map[protoreflect.FullName]string
	if t.Schema != nil {
		declared = t.Schema.Descriptions()
	}
	var out []*configv1.EventToken
	for _, token := range rules.Tokens(t) {
		text := described[token.Path]
		switch {
		case text != "":
		case token.Field == nil:
			text = "Currency of the amounts (ISO 4217)."
		default:
			if text = comment(string(token.Field.FullName())); text == "" {
				text = declared[token.Field.FullName()]
			}
			if text == "" {
				text = strings.ReplaceAll(string(token.Field.Name()), "_", " ") + " of " + string(token.Field.Parent().Name())
			}
		}
		out = append(out, &configv1.EventToken{
			Path: token.Path, Kind: kinds[token.Kind], Description: text, Personal: token.Personal, Contact: token.Contact,
		})
	}
	return out
}
