// Package encrypt is how rows of the configuration's tables are encrypted: which kinds of resources have secrets, and where.
package encrypt

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/channel/table"
	"github.com/tollgate/tollgate/pkg/secret"
)

// Rows encrypts the secrets of resources for the tables: what is a secret follows from the kinds of targets.
type Rows struct{ *secret.Keyset }

// Kinds implements store.Secrets.
func (Rows) Kinds() []string {
	var names []string
	for _, k := range table.Kinds() {
		names = append(names, k.Field)
	}
	return names
}

// Encrypt implements store.Secrets.
func (r Rows) Encrypt(kind, name string, body []byte) ([]byte, secret.KeyID, error) {
	for _, k := range table.Kinds() {
		if k.Field != kind {
			continue
		}
		m := k.New()
		if err := proto.Unmarshal(body, m); err != nil {
			return body, 0, fmt.Errorf("read %s: %w", name, err)
		}
		if err := k.Decrypt(m, r.Keyset); err != nil {
			return body, 0, err
		}
		key, err := k.Encrypt(m, r.Keyset)
		if err != nil {
			return body, 0, err
		}
		encrypted, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return body, 0, fmt.Errorf("encode %s: %w", name, err)
		}
		return encrypted, key, nil
	}
	return body, 0, nil
}
