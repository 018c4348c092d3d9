package keys

import (
	"context"
	"fmt"
	"slices"

	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/config/store"
	"github.com/tollgate/tollgate/services/tollgate/cli/backup"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Keyset makes a keyset.
type Keyset struct {
	command.Listing
	File string `arg:"" help:"File to write; there must be none of that name."`
}

// Help is shown below the flags.
func (Keyset) Help() string {
	return `The keyset is what config encrypts secrets with, such as passwords, tokens and signing secrets, and what the services that send or ask hooks
decrypt them with: secrets.keyset_file of all of them names the same file. Only its owner can read it. Keep a copy apart from backups of
the database: without the keyset every secret is lost, and has to be given again.

Example:

    tollgate keys seal tollgate-data/keyset.json`
}

// keysetRow is a key of a keyset.
type keysetRow struct {
	Key     string `json:"key"`
	Primary bool   `json:"primary"`
}

// Run draws.
func (c Keyset) Run(streams command.Streams) error {
	if _, err := secret.Create(c.File); err != nil {
		return err
	}
	return showKeyset(c.Listing, streams, c.File)
}

// Rotate changes a keyset step by step.
type Rotate struct {
	command.Listing
	backup.Database
	File    string `arg:"" help:"File of the keyset."`
	Promote bool   `help:"Second step: encrypt with the key that was added." xor:"step"`
	DropOld bool   `help:"Third step: remove the keys before it. Refused while the database has secrets that are encrypted with them." xor:"step"`
}

// Help is shown below the flags.
func (Rotate) Help() string {
	return `Three steps replace the key, and no service is restarted: services read the file again when it changes. After each step bring the file to every
machine before the next step:

1. Without a flag a key is added. Services can decrypt with it then, and go on to encrypt with the one before.
2. --promote makes it the primary key. Config encrypts with it from then on, and encrypts anew what is under older keys, old versions included.
   It makes one revision at the end, which has services read the configuration anew.
3. --drop-old removes the keys before it. It looks into the database with the service's own configuration (--settings), and is refused
   while secrets there are encrypted with an old key. A backup from before the rotation needs the old keyset: keep a copy with it.

Example:

    tollgate keys rotate tollgate-data/keyset.json

    tollgate keys rotate tollgate-data/keyset.json --promote

    tollgate keys rotate tollgate-data/keyset.json --drop-old --settings /etc/tollgate/config.yaml`
}

// Run does one step.
func (c Rotate) Run(ctx context.Context, streams command.Streams) (err error) {
	switch {
	case c.Promote:
		_, err = secret.Promote(c.File)
	case c.DropOld:
		_, err = secret.DropOld(c.File, func(old []secret.KeyID) error { return c.unused(ctx, old) })
	default:
		_, err = secret.Add(c.File)
	}
	if err != nil {
		return err
	}
	return showKeyset(c.Listing, streams, c.File)
}

// unused refuses keys that rows of the database are encrypted with.
func (c Rotate) unused(ctx context.Context, old []secret.KeyID) error {
	cfg, err := c.Tables()
	if err != nil {
		return err
	}
	rows, err := store.OldKeys(ctx, cfg, old)
	if err != nil {
		return err
	}
	for _, id := range old {
		if n := rows[id]; n > 0 {
			return fmt.Errorf("%d versions of resources are still encrypted with key %s: wait until config has encrypted them anew, its log names what it can't", n, id)
		}
	}
	return nil
}

func showKeyset(l command.Listing, streams command.Streams, file string) error {
	k, err := secret.Open(file)
	if err != nil {
		return err
	}
	var rows []keysetRow
	for _, id := range slices.Backward(k.Keys()) {
		rows = append(rows, keysetRow{id.String(), id == k.Primary()})
	}
	return command.Write(l, streams.Out, rows, []string{"key", "use"}, func(r keysetRow) []string {
		if r.Primary {
			return []string{r.Key, "encrypts and decrypts"}
		}
		return []string{r.Key, "decrypts"}
	})
}
