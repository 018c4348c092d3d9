package shape

import (
	"strings"
	"testing"
)

// Installed beside others, a program is known by its name.
func TestPrograms_AreNamedTollgateAndTheirService(t *testing.T) {
	found := 0
	for _, f := range repository(t) {
		parts := strings.Split(f.path, "/")
		if len(parts) != 5 || parts[0] != "services" || parts[2] != "cmd" || f.syntax.Name.Name != "main" {
			continue
		}
		found++
		if want := "tollgate-" + parts[1]; parts[3] != want && parts[1] != "tollgate" || parts[1] == "tollgate" && parts[3] != "tollgate" {
			t.Errorf("services/%s has the program %s", parts[1], parts[3])
		}
	}
	if found < 6 {
		t.Errorf("%d programs found", found)
	}
}
