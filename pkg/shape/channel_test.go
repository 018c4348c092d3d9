package shape

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/channel/table"
)

// A channel is its pure package, its service and its lines in the tables. The rest of the product follows from the
// tables, and names none of them.
func TestChannels_AreNamedByTheirTablesAlone(t *testing.T) {
	allowed := map[string]string{
		"pkg/channel/table/table.go":            "the table of channels",
		"services/tollgate/process/process.go":  "the table of services",
		"services/tollgate/cli/try.go":          "help of the first journey, which is a webhook's",
		"services/tollgate/cli/cli.go":          "help of the first journey, which is a webhook's",
		"services/tollgate/try/try.go":          "the first journey is a webhook's",
		"services/tollgate/try/traffic.go":      "the first journey is a webhook's",
		"services/tollgate/try/receiver.go":     "the first journey is a webhook's",
		"services/tollgate/try/verify.go":       "the first journey is a webhook's",
		"services/systemtest/fleet/receiver.go": "a receiver of tests",
	}
	for _, f := range repository(t) {
		if f.isTest() || f.isProbe() || allowed[f.path] != "" {
			continue
		}
		for _, name := range table.Channels.Names() {
			if strings.HasPrefix(f.path, "pkg/channel/"+name+"/") || strings.HasPrefix(f.path, "services/"+name+"/") {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				text := ""
				switch n := n.(type) {
				case *ast.Ident:
					text = n.Name
				case *ast.BasicLit:
					if n.Kind == token.STRING {
						text = n.Value
					}
				}
				if strings.Contains(strings.ToLower(text), name) {
					t.Errorf("%s has %q: what depends on a channel follows from pkg/channel/table", f.path, text)
				}
				return true
			})
		}
	}
}
