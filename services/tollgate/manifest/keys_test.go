package manifest

import (
	"strings"
	"testing"
)

// A limit that was there twice was the second of the two, without an error.
func TestKeys_TwiceInOneObjectAreRefused(t *testing.T) {
	const class = "kind: ClassOfService\nname: tenants/a/classesOfService/x\n"
	for name, tc := range map[string]struct{ content, want string }{
		"a field twice":                  {class + "display_name: a\ndisplay_name: b\n", "f:4: display_name: is in line 3 too"},
		"a field in both spellings":      {class + "display_name: a\ndisplayName: b\n", "f:4: display_name: is in line 3 too"},
		"a field deeper down":            {class + "data_safeguard:\n  limit: {units: 50, currency_code: EUR, units: 500}\n", "f:4: units: is in line 4 too"},
		"a field in a list":              {class + "data_safeguard:\n  alert_thresholds:\n  - percent: 50\n    percent: 90\n", "f:6: percent: is in line 5 too"},
		"the kind twice":                 {class + "kind: Tenant\n", `f:3: unknown field "kind"`},
		"JSON, a field twice":            {`{"kind":"Tenant","name":"tenants/a","name":"tenants/b"}`, "f:1: name: is in line 1 too"},
		"JSON, half of a surrogate pair": {`{"kind":"Tenant","name":"tenants/a","display_name":"\ud800"}`, "invalid Unicode"},
		"YAML, half of a surrogate pair": {"kind: Tenant\nname: tenants/a\ndisplay_name: \"\\udc00\"\n", "invalid Unicode"},
		"bytes that are not UTF-8":       {"kind: Tenant\nname: tenants/a\ndisplay_name: a\xffb\n", "UTF-8"},
		"half a character":               {"kind: Tenant\nname: tenants/a\ndisplay_name: a\xc3\n", "UTF-8"},
	} {
		if _, err := Parse("f", []byte(tc.content)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := "kind: Notification\nname: tenants/a/notifications/x\nactions:\n- name: t\n  webhook: {endpoint: e, parameters: {aB: \"1\", a_b: \"2\"}}\n"
	if _, err := Parse("f", []byte(good)); err != nil && strings.Contains(err.Error(), "is in line") {
		t.Errorf("keys of a map: %v", err)
	}
}
