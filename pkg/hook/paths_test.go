package hook_test

import (
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/hook"
	eventv1 "github.com/tollgate/tollgate/proto/gen/tollgate/event/v1"
)

func TestParsePaths_NamesEveryOneThatThereIsNot(t *testing.T) {
	_, err := hook.ParsePaths([]string{"client.vip", "client.bill_day.x", "", "client.displayName", "changed_fields.x"}, (&eventv1.ClientChanged{}).ProtoReflect().Descriptor())
	for _, part := range []string{`no field "vip"`, "client.bill_day has no fields", `no field ""`, "changed_fields has no fields"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q in it", err, part)
		}
	}
	m := (&eventv1.ClientCustomFieldsUpdated{}).ProtoReflect().Descriptor()
	if got, err := hook.ParsePaths([]string{"customFields.any.thing"}, m); err != nil || got[0] != "custom_fields.any.thing" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := hook.ParsePaths([]string{"custom_fields..x"}, m); err == nil {
		t.Error("a name that is missing is taken")
	}
}
