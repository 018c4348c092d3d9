package shape

import (
	"go/ast"
	"go/token"
	"maps"
	"strings"
	"testing"

	"github.com/tollgate/tollgate/pkg/channel/table"
)

// A channel is its pure package, its service and its lines in the tables. The rest of the product follows from the
// tables, and names none of them; so do the fleet of the tests and the reference.
func TestChannels_AreNamedByTheirTablesAlone(t *testing.T) {
	allowed := map[string]string{
		"pkg/channel/table/table.go":            "the table of channels",
		"pkg/hook/kind.go":                      "handlers of hooks are addresses as endpoints are",
		"pkg/hook/hook.go":                      "handlers of hooks are addresses as endpoints are",
		"pkg/receiver/question.go":              "handlers of hooks are addresses as endpoints are",
		"pkg/receiver/receiver.go":              "handlers of hooks are addresses as endpoints are",
		"pkg/receiver/credentials.go":           "handlers of hooks are addresses as endpoints are",
		"pkg/channel/topic/channel.go":          "a record without a value of its own is the body of a webhook",
		"services/tollgate/process/process.go":  "the table of services",
		"services/tollgate/try/receiver.go":     "a receiver is one of a channel",
		"services/systemtest/fleet/receiver.go": "a receiver is one of a channel",
		"services/tollgate/cli/keys/secret.go":  "makes a secret that signs webhooks",
		"services/tollgate/cli/cli.go":          "the name of the command that does",
		"services/config/address.go":            "addresses of users and suppressions are those of e-mail",
		"pkg/event/sample.go":                   "a contact has an e-mail address",
		"pkg/rules/contexts.go":                 "a contact has an e-mail address",

		"services/tollgate/subscriberimport/column.go": "a contact has an e-mail address",
		"services/tollgate/subscriberimport/sample.go": "a contact has an e-mail address",
	}
	unused := maps.Clone(allowed)
	for _, f := range repository(t) {
		derived := strings.HasPrefix(f.path, "services/systemtest/fleet/") || strings.HasPrefix(f.path, "services/systemtest/docs/")
		if f.isTest() || f.isProbe() && !derived {
			continue
		}
		// A channel without a service is a package and a line of the table; its name, "topic", is a word of all the product.
		for _, name := range table.Channels.Served().Names() {
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
					if delete(unused, f.path); allowed[f.path] == "" {
						t.Errorf("%s has %q: what depends on a channel follows from pkg/channel/table", f.path, text)
					}
				}
				return true
			})
		}
	}
	for path, why := range unused {
		t.Errorf("%s names no channel any more: take it off the list (%s)", path, why)
	}
}
