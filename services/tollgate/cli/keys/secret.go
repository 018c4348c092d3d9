package keys

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/tollgate/tollgate/pkg/channel/webhook"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// WebhookSecret makes a secret of a signature.
type WebhookSecret struct {
	command.Listing
	File string `help:"Write the secret into this file, which must not exist and is readable by its owner alone; it is then not printed." placeholder:"FILE"`
}

// Help is shown below the flags.
func (WebhookSecret) Help() string {
	return `The secret is 32 random bytes. It goes into the secrets of an endpoint, and to its receiver, who verifies signatures with it
(Standard Webhooks). To change a secret without a gap put the new one before the old one, give the new one to the
receiver, and take the old one out of the endpoint once the receiver uses the new one.

Example:

    tollgate keys webhook-secret

    tollgate keys webhook-secret --file new-secret`
}

type secretRow struct {
	Secret string `json:"secret,omitempty"`
	File   string `json:"file,omitempty"`
}

// Run draws.
func (c WebhookSecret) Run(streams command.Streams) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("draw secret: %w", err)
	}
	row := secretRow{Secret: webhook.NewSecret(key)}
	if c.File != "" {
		if err := appendLine(c.File, row.Secret, os.O_EXCL); err != nil {
			return fmt.Errorf("keep secret: %w", err)
		}
		row = secretRow{File: c.File}
	}
	return command.Write(c.Listing, streams.Out, []secretRow{row}, []string{"secret"}, func(r secretRow) []string {
		if r.File != "" {
			return []string{"in " + r.File}
		}
		return []string{r.Secret}
	})
}
