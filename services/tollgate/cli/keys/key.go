// Package keys makes API keys, secrets of signatures, and the keyset that secrets of the configuration are encrypted with.
package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// New makes an API key.
type New struct {
	command.Listing
	KeyFile    string `help:"Write the key into this file, which must not exist and is readable by its owner alone; it is then not printed." placeholder:"FILE"`
	HashesFile string `help:"Append the hash to this file: grpc.api_key_hashes_file of the services, or grpc.service_key_hashes_file." placeholder:"FILE"`
}

// Help is shown below the flags.
func (New) Help() string {
	return `Services know only the hash (grpc.api_key_hashes_file, one a line); callers send the key. A key can't be computed from its
hash: replace a key that is lost.

Example:

    tollgate keys new

    tollgate keys new --key-file tollgate-data/api-key --hashes-file tollgate-data/api-key-hashes

The services that follow the configuration have a key of their own (config.api_key_file), which config knows by
grpc.service_key_hashes_file; config shows the secrets of endpoints only to them:

    tollgate keys new --key-file tollgate-data/service-key --hashes-file tollgate-data/service-key-hashes`
}

type keyRow struct {
	Key  string `json:"key,omitempty"`
	Hash string `json:"hash"`
}

// Run draws.
func (c New) Run(streams command.Streams) error {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return fmt.Errorf("draw key: %w", err)
	}
	row := keyRow{Key: "tg_" + base64.RawURLEncoding.EncodeToString(secret)}
	row.Hash = rpc.HashKey(row.Key)
	if c.KeyFile != "" {
		// The key comes first: a hash without its key is useless, a key without its hash can be hashed again.
		if err := appendLine(c.KeyFile, row.Key, os.O_EXCL); err != nil {
			return fmt.Errorf("keep key: %w", err)
		}
		row.Key = ""
	}
	if c.HashesFile != "" {
		if err := appendLine(c.HashesFile, row.Hash, 0); err != nil {
			return fmt.Errorf("keep hash: %w", err)
		}
	}
	return command.Write(c.Listing, streams.Out, []keyRow{row}, []string{"key", "sha-256 for api_key_hashes"}, func(r keyRow) []string {
		if r.Key == "" {
			r.Key = "in " + c.KeyFile
		}
		return []string{r.Key, r.Hash}
	})
}

func appendLine(path, line string, flags int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|flags, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Sync(), f.Close())
}
