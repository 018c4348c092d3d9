// Package eventtypes shows event types to people: their fields, their tokens and their examples.
package eventtypes

import (
	"fmt"
	"strings"

	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Of are resources that are event types; nil where they are of another kind.
func Of(all []manifest.Resource) []*configv1.EventType {
	var types []*configv1.EventType
	for _, r := range all {
		t, ok := r.(*configv1.EventType)
		if !ok {
			return nil
		}
		types = append(types, t)
	}
	return types
}

// Write writes a table of types; of one that was asked for also its fields, its tokens and its example.
func Write(c command.Listing, streams command.Streams, types []*configv1.EventType, whole bool) error {
	header := []string{"name", "entity", "operation", "queue", "subject", "publisher", "fields", "tokens"}
	err := command.Write(c, streams.Out, types, header, func(t *configv1.EventType) []string {
		subject, publisher := "", "producer"
		if t.GetSubscriber() {
			subject = "subscriber"
		}
		if t.GetReserved() {
			publisher = "Tollgate"
		}
		return []string{
			t.GetName(), t.GetEntity(), word(t.GetOperation().String(), "EVENT_OPERATION_"), word(t.GetQueue().String(), "EVENT_QUEUE_"), subject, publisher,
			fmt.Sprint(len(t.GetFields())), fmt.Sprint(len(t.GetTokens())),
		}
	})
	if err != nil || !whole {
		return err
	}
	for _, t := range types {
		if err := write(c, streams, t); err != nil {
			return err
		}
	}
	return nil
}

func write(c command.Listing, streams command.Streams, t *configv1.EventType) error {
	fmt.Fprintf(streams.Out, "\n%s\n\n", t.GetDescription())
	err := command.Write(c, streams.Out, flat("data", t.GetFields()), []string{"field", "kind", "who", "description"}, func(f field) []string {
		return []string{f.path, kindText(f.EventField), who(f.GetPersonal(), f.GetContact()), f.GetDescription()}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(streams.Out)
	err = command.Write(c, streams.Out, t.GetTokens(), []string{"token", "kind", "who", "description"}, func(k *configv1.EventToken) []string {
		return []string{k.GetPath(), k.GetKind(), who(k.GetPersonal(), k.GetContact()), k.GetDescription()}
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(streams.Out, "\nAn example, as a CloudEvent in JSON:\n\n%s", t.GetExample())
	return err
}

// field is one with its path.
type field struct {
	*configv1.EventField
	path string
}

func flat(path string, fields []*configv1.EventField) (all []field) {
	for _, f := range fields {
		at := path + "." + f.GetName()
		all = append(all, field{f, at})
		all = append(all, flat(at, f.GetFields())...)
	}
	return all
}

func kindText(f *configv1.EventField) string {
	text := word(f.GetKind().String(), "FIELD_KIND_")
	if f.GetRepeated() {
		text = "list of " + text
	}
	if f.GetRequired() {
		text += ", required"
	}
	return text
}

func who(personal, contact bool) string {
	switch {
	case contact:
		return "contact"
	case personal:
		return "personal"
	}
	return ""
}

// word is the value of an enum as people write it; empty for the one that sets nothing.
func word(value, prefix string) string {
	text := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(value, prefix)), "_", "-")
	if text == "unspecified" {
		return ""
	}
	return text
}
