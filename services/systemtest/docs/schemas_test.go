package docs

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tollgate/tollgate/pkg/catalog"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/systemtest/docs/reference"
)

func compiled(t *testing.T, name, text string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// Each schema takes the example of its type, and refuses what ingest refuses.
func TestSchemas_TakeTheExampleAndRefuseWhatIsWrong(t *testing.T) {
	for _, typ := range catalog.BuiltIn() {
		name := strings.TrimPrefix(typ.GetName(), "eventTypes/")
		s := compiled(t, name+".json", read(t, filepath.Join(reference.Dir, "schemas", name+".json")))
		valid := func(edit func(whole, data map[string]any)) error {
			var whole map[string]any
			if err := json.Unmarshal([]byte(typ.GetExample()), &whole); err != nil {
				t.Fatal(err)
			}
			data, _ := whole["data"].(map[string]any)
			edit(whole, data)
			return s.Validate(whole)
		}
		if err := valid(func(_, _ map[string]any) {}); err != nil {
			t.Errorf("%s: its example: %v", name, err)
		}
		for what, edit := range map[string]func(whole, data map[string]any){
			"no id":                    func(whole, _ map[string]any) { delete(whole, "id") },
			"an id that is empty":      func(whole, _ map[string]any) { whole["id"] = "" },
			"another type":             func(whole, _ map[string]any) { whole["type"] = "no.such" },
			"no tenant":                func(whole, _ map[string]any) { delete(whole, "tenant") },
			"no data":                  func(whole, _ map[string]any) { delete(whole, "data") },
			"a time that is none":      func(whole, _ map[string]any) { whole["time"] = "yesterday" },
			"a field it does not have": func(_, data map[string]any) { data["colour"] = "red" },
			"a field of another kind":  func(_, data map[string]any) { data[typ.GetFields()[0].GetName()] = []any{map[string]any{"x": 1}} },
		} {
			if err := valid(edit); err == nil {
				t.Errorf("%s: %s is taken", name, what)
			}
		}
		if typ.GetQueue() == configv1.EventQueue_EVENT_QUEUE_ORDERED && valid(func(whole, _ map[string]any) { delete(whole, "subject") }) == nil {
			t.Errorf("%s: no subject is taken", name)
		}
	}
}
