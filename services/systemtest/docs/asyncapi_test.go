package docs

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/event"
	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
	"github.com/tollgate/tollgate/pkg/stream"
	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
)

// asyncAPI is what the tests read of the document.
type asyncAPI struct {
	Channels map[string]struct {
		Address, Description string
		Messages             map[string]refTo
	}
	Operations map[string]struct {
		Action   string
		Channel  refTo
		Messages []refTo
	}
	Components struct {
		Messages map[string]struct {
			ContentType string
			Bindings    struct {
				Kafka struct {
					Key struct{ Description string }
				}
			}
			Examples []struct{ Headers map[string]string }
			Record   struct{ Key, Value string } `json:"x-record"`
		}
		Schemas map[string]json.RawMessage
	}
}

type refTo struct {
	Ref string `json:"$ref"`
}

func asyncAPIOf(t *testing.T) (doc asyncAPI, raw any) {
	t.Helper()
	text := read(t, filepath.Join(reference.Dir, "asyncapi.json"))
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	return doc, raw
}

// Every topic has its channel, key, content types and an example that is a record as it stands there.
func TestAsyncAPI_HasEveryTopicWithARecordThatIsRead(t *testing.T) {
	doc, raw := asyncAPIOf(t)
	specs := table.Topics(1)
	if len(doc.Channels) != len(specs) || len(doc.Operations) != len(specs) {
		t.Errorf("%d channels, %d operations, %d topics", len(doc.Channels), len(doc.Operations), len(specs))
	}
	for _, spec := range specs {
		c, ok := doc.Channels[strings.ReplaceAll(spec.Name, ".", "_")]
		if !ok || c.Address != "tollgate."+spec.Name || len(c.Messages) == 0 {
			t.Errorf("%s: %+v", spec.Name, c)
		}
		if skipped := reference.Skipped[spec.Name]; !strings.Contains(c.Description, skipped) {
			t.Errorf("%s: what consumers skip is missing", spec.Name)
		}
		for _, ref := range c.Messages {
			m := doc.Components.Messages[strings.TrimPrefix(ref.Ref, "#/components/messages/")]
			if m.ContentType == "" || m.Bindings.Kafka.Key.Description == "" || len(m.Examples) != 1 {
				t.Errorf("%s: %+v", ref.Ref, m)
				continue
			}
			value, err := base64.StdEncoding.DecodeString(m.Record.Value)
			if err != nil {
				t.Fatal(err)
			}
			r := stream.Record{Topic: spec.Name, Key: []byte(m.Record.Key), Value: value}
			for name, v := range m.Examples[0].Headers {
				r.Headers = append(r.Headers, stream.Header{Key: name, Value: []byte(v)})
			}
			readsExample(t, ref.Ref, spec.Name, r)
		}
	}
	resolved(t, raw, raw)
}

// readsExample reads a record of a topic of events as whoever takes it there does.
func readsExample(t *testing.T, name, topic string, r stream.Record) {
	t.Helper()
	switch topic {
	case stream.EventsInbound:
		if _, err := event.ParseKafka(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	case stream.EventsOrdered, stream.EventsUnordered, stream.Safeguards:
		e, err := event.Decode(r.Value)
		if err != nil || e.Validate() != nil {
			t.Errorf("%s: %+v, %v", name, e, err)
			return
		}
		again, err := e.Record(topic)
		if err != nil || string(again.Key) != string(r.Key) || string(again.Value) != string(r.Value) {
			t.Errorf("%s: it is written as %q %v", name, again.Key, err)
		}
	case stream.EventsRejected:
		if _, err := event.ParseKafka(stream.Record{Value: r.Value, Headers: r.Headers}); fault.ReasonOf(err) == "" || fault.ReasonOf(err) == reason.Panic {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// resolved follows every reference.
func resolved(t *testing.T, whole, at any) {
	t.Helper()
	switch v := at.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			follow(t, whole, ref)
		}
		for _, inner := range v {
			resolved(t, whole, inner)
		}
	case []any:
		for _, inner := range v {
			resolved(t, whole, inner)
		}
	}
}

func follow(t *testing.T, at any, ref string) {
	t.Helper()
	path, local := strings.CutPrefix(ref, "#/")
	if !local {
		if _, err := os.Stat(filepath.Join(root, reference.Dir, ref)); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		return
	}
	for step := range strings.SplitSeq(path, "/") {
		m, _ := at.(map[string]any)
		next, ok := m[step]
		if at = next; !ok {
			t.Errorf("%s leads nowhere", ref)
			return
		}
	}
}

// The document against the published schema of AsyncAPI 3, which comes from npm.
func TestClients_AsyncAPIIsOfItsSchema(t *testing.T) {
	if os.Getenv("TOLLGATE_TEST_CLIENTS") == "" {
		t.Skip("TOLLGATE_TEST_CLIENTS is not set: make test-clients sets it")
	}
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "@asyncapi/specs@6.8.1")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm: %v\n%s", err, out)
	}
	published, err := os.Open(filepath.Join(dir, "node_modules", "@asyncapi", "specs", "schemas", "3.0.0-without-$id.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer published.Close()
	schema, err := jsonschema.UnmarshalJSON(published)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("asyncapi.json", schema); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("asyncapi.json")
	if err != nil {
		t.Fatal(err)
	}
	_, raw := asyncAPIOf(t)
	if err := s.Validate(raw); err != nil {
		t.Errorf("%#v", err)
	}
	broken, _ := raw.(map[string]any)
	broken["asyncapi"] = "2.6.0"
	if s.Validate(broken) == nil {
		t.Error("the schema takes another version")
	}
}
