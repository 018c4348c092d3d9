package trigger

import (
	"slices"

	"github.com/tollgate/tollgate/pkg/channel/email"
	"github.com/tollgate/tollgate/pkg/channel/table"
)

// What is planned depends on no service: the tests have every channel that has a pure package.
func init() {
	if !slices.Contains(table.Channels, email.Channel) {
		table.Channels = append(table.Channels, email.Channel)
	}
}
