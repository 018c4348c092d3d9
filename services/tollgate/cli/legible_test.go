package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/stream"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
)

// unsafeText clears a screen, turns a line around, and is long.
var unsafeText = "acme\x1b[2J\u202e\u2066evil\u200b\x07" + strings.Repeat("x", 10_000)

func obeyed(t *testing.T, where, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\x07\u202e\u2066\u200b\r\x00") {
		t.Errorf("%s shows %.300q", where, text)
	}
	for line := range strings.Lines(text) {
		if len(line) > 4<<10 {
			t.Errorf("%s shows a line of %d bytes", where, len(line))
		}
	}
}

// Every command is given what a terminal obeys, for each of its arguments; most of them repeat it in what they complain of.
func TestOutput_EscapesWhatAffectsATerminal(t *testing.T) {
	parser, err := newParser(command.Streams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOLLGATE_CONFIG_ADDR", "127.0.0.1:1")
	t.Setenv("TOLLGATE_INGEST_ADDR", "127.0.0.1:1")
	t.Setenv("TOLLGATE_SAFEGUARD_ADDR", "127.0.0.1:1")
	walked := 0
	for _, leaf := range parser.Model.Leaves(true) {
		path := commandOf(leaf)
		if path[0] == "try" {
			continue // it takes no argument; what it prints is the story's
		}
		walked++
		for name, args := range map[string][]string{
			"an argument too much": append(path[:len(path):len(path)], unsafeText, unsafeText, unsafeText),
			"a flag":               append(path[:len(path):len(path)], "--"+unsafeText),
			"a file":               append(path[:len(path):len(path)], "-f", unsafeText),
		} {
			var out, errs bytes.Buffer
			Run(t.Context(), args, command.Streams{In: strings.NewReader(unsafeText), Out: &out, Err: &errs}, time.Now())
			obeyed(t, strings.Join(path, " ")+": "+name, out.String()+errs.String())
		}
	}
	if walked < 15 {
		t.Errorf("%d commands were walked", walked)
	}
}

func commandOf(leaf *kong.Node) []string {
	var path []string
	for n := leaf; n != nil && n.Type != kong.ApplicationNode; n = n.Parent {
		path = append([]string{n.Name}, path...)
	}
	return path
}

// In data nothing is cut, and what is escaped is read as it was.
func TestOutput_ListingIsEscapedInEveryForm(t *testing.T) {
	type row struct {
		Name string `json:"name"`
	}
	rows := []row{{unsafeText}, {"two\nlines"}}
	for _, form := range []string{"table", "json", "yaml"} {
		var out bytes.Buffer
		streams := command.Streams{Out: &out}.Legible()
		if err := command.Write(command.Listing{Output: form}, streams.Out, rows, []string{"name"}, func(r row) []string { return []string{r.Name} }); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.ContainsAny(text, "\x1b\x07\u202e\u2066\u200b") {
			t.Errorf("%s shows %.300q", form, text)
		}
		var got []row
		switch form {
		case "table":
			obeyed(t, form, text)
			continue
		case "json":
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
		case "yaml":
			if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) != 2 || got[0] != rows[0] || got[1] != rows[1] {
			t.Errorf("%s is read as %.100q", form, got)
		}
	}
}

// A producer chooses ids and what is wrong with an event: neither forges a line of a list, nor floods it.
func TestEventsOnATerminal_AreOneLineEach(t *testing.T) {
	forged := unsafeText + "\n2026-11-23T10:00:00Z forged"
	var out bytes.Buffer
	streams := command.Streams{Out: &out}.Legible()
	record := stream.Record{Topic: "t", Time: time.Now()}
	partition, offset := int32(0), int64(41)
	for name, print := range map[string]func() error{
		"rejected list": func() error {
			return records.Rejections{}.Print(streams, record, event.Rejection{
				Topic: forged, Reason: forged, Detail: forged, EventID: forged, Type: forged, Tenant: forged, Subject: forged,
			}, "", "")
		},
		"rejected resend": func() error { return records.Rejections{}.Print(streams, record, event.Rejection{}, "", forged) },
		"send, accepted": func() error {
			return sendCommand{Output: "text"}.print(streams.Out, reply{ID: forged, Topic: "t", Partition: &partition, Offset: &offset})
		},
		"send, refused": func() error {
			return sendCommand{Output: "text"}.print(streams.Out, reply{ID: forged, Reason: "EVENT_INVALID", Violations: []string{forged, forged}})
		},
		"tail": func() error {
			return records.Tail{Output: "text"}.Print(streams, record, &event.Event{
				ID: forged, Type: forged, Tenant: "acme", Subject: forged, Data: &eventv1.UsageCharged{Service: forged},
			})
		},
	} {
		out.Reset()
		if err := print(); err != nil {
			t.Fatal(name, err)
		}
		obeyed(t, name, out.String())
		if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), `\x1b`) {
			t.Errorf("%s shows %d lines: %.200q", name, n, out.String())
		}
	}
}
