package reference

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/pkg/event"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/proto/tollgate"
)

// eventPackage holds the events and their data.
const eventPackage = "tollgate.event.v1"

// Events is the page of the event types and their data.
func Events(context.Context, string) (string, error) {
	comments, err := tollgate.Comments()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	head(&b, "Events", fmt.Sprintf(`
An event is a [`+"`event.v1.Event`"+`](#eventv1event): an envelope, and data whose message belongs to its type. Types beside
these are [declared by their tenants](../event-types.md).

- **queue**: events of an ordered type have a subject, go to `+"`events.ordered`"+` (`+"`safeguard.*`: `safeguards`"+`) under the key
  tenant/subject, and keep the order of their subject. Events of an unordered type are spread over `+"`events.unordered`"+`.
- **subject**: of a subscriber's type the MSISDN in E.164 digits, without "+". Of others what the type is about, such as
  `+"`client/42`"+`.
- **publisher**: Tollgate alone publishes its own types and sources that begin with `+"`tollgate/`"+`. What a producer sends under them is refused.
- **personal** fields leave only to an endpoint that has `+"`personal_data: PERSONAL_DATA_INCLUDE`"+`. **contact** fields leave only by a channel that
  reaches people by them.

An event has at most %d MiB in Protobuf.

## Types
`, event.MaxBytes>>20))
	var rows [][]string
	data := map[protoreflect.FullName][]string{}
	for _, t := range event.Types() {
		subject, publisher := "", "producer"
		if t.Subscriber {
			subject = "subscriber"
		}
		if t.Reserved {
			publisher = "Tollgate"
		}
		name := t.Data.ProtoReflect().Descriptor().FullName()
		data[name] = append(data[name], t.Name)
		short := strings.TrimPrefix(string(name), "tollgate.")
		rows = append(rows, []string{
			code(t.Name), t.Queue.String(), t.Operation.String(), subject, publisher, fmt.Sprintf("[`%s`](#%s)", short, Anchor(short)),
			fmt.Sprintf("[JSON Schema](schemas/%s.json)", t.Name),
		})
	}
	table(&b, []string{"type", "queue", "operation", "subject", "publisher", "data", "schema"}, rows)
	tokens(&b)

	w := writer{Builder: &b, comments: comments, page: func(n protoreflect.FullName) (string, bool) {
		return "", strings.HasPrefix(string(n), eventPackage+".")
	}}
	b.WriteString("\n## Messages\n")
	_, files := protoPackages()
	messages := map[string]protoreflect.Descriptor{}
	for _, f := range files[eventPackage] {
		for i := range f.Messages().Len() {
			messages[string(f.Messages().Get(i).Name())] = f.Messages().Get(i)
		}
		for i := range f.Enums().Len() {
			messages[string(f.Enums().Get(i).Name())] = f.Enums().Get(i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(messages)) {
		w.declaration(messages[name])
	}
	return b.String(), nil
}

// tokens writes the tokens of the types, those with the same ones together.
func tokens(b *strings.Builder) {
	b.WriteString("\n## Tokens\n\nWhat texts of a notification may use, by the types of its trigger. Every type has those of `.Core` and `.Event`. " +
		"Personal tokens are empty for a target that may not have personal data; contact tokens are for e-mail.\n")
	type group struct {
		types []string
		rows  [][]string
	}
	var all []*group
	common := &group{}
	for _, t := range catalog.BuiltIn() {
		var rows [][]string
		common.rows = nil
		for _, k := range t.GetTokens() {
			who := ""
			switch {
			case k.GetContact():
				who = "contact"
			case k.GetPersonal():
				who = "personal"
			}
			row := []string{code("{{" + k.GetPath() + "}}"), k.GetKind(), who, plain(k.GetDescription())}
			if strings.HasPrefix(k.GetPath(), ".Core.") || strings.HasPrefix(k.GetPath(), ".Event.") {
				common.rows = append(common.rows, row)
				continue
			}
			rows = append(rows, row)
		}
		name := code(strings.TrimPrefix(t.GetName(), catalog.Collection+"/"))
		at := slices.IndexFunc(all, func(g *group) bool { return slices.EqualFunc(g.rows, rows, slices.Equal[[]string]) })
		if at < 0 {
			at = len(all)
			all = append(all, &group{rows: rows})
		}
		all[at].types = append(all[at].types, name)
	}
	b.WriteString("\n### Every type\n")
	table(b, []string{"token", "kind", "who", "what it is"}, common.rows)
	for _, g := range all {
		if len(g.rows) == 0 {
			continue
		}
		fmt.Fprintf(b, "\n### %s\n", strings.Join(g.types, ", "))
		table(b, []string{"token", "kind", "who", "what it is"}, g.rows)
	}
}

// declaration writes a message or an enum.
func (w writer) declaration(d protoreflect.Descriptor) {
	switch d := d.(type) {
	case protoreflect.MessageDescriptor:
		w.message(d)
	case protoreflect.EnumDescriptor:
		w.enum(d)
	}
}

// markOf is who may see a field of an event's data.
func markOf(f protoreflect.FieldDescriptor) string {
	options := f.Options()
	if options == nil || !proto.HasExtension(options, eventv1.E_Field) {
		return ""
	}
	mark, ok := proto.GetExtension(options, eventv1.E_Field).(*eventv1.FieldMark)
	switch {
	case !ok:
		return ""
	case mark.GetContact():
		return "contact"
	case mark.GetPersonal():
		return "personal"
	}
	return ""
}
