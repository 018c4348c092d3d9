package channel

import (
	"errors"
	"slices"

	"github.com/tollgate/tollgate/pkg/secret"
)

// Secret is a value of a resource that lies and travels encrypted: it is in clear where it is given and where it is used.
type Secret struct {
	// Field is its path in the resource.
	Field string
	// Value is its place in the resource; it is not empty.
	Value *string
}

// Encrypt encrypts the secrets of a resource that are in clear, and returns the key; 0 where there is no secret. One that is
// encrypted stays so: it could not be decrypted. The key is its then, where the keyset has that.
func (k *Kind) Encrypt(r Resource, keyset *secret.Keyset) (key secret.KeyID, err error) {
	for _, s := range k.Secrets(r) {
		var id secret.KeyID
		if secret.Encrypted(*s.Value) {
			if id, err = secret.KeyOfValue(*s.Value); err == nil && slices.Contains(keyset.Keys(), id) && (key == 0 || id != keyset.Primary()) {
				key = id
			}
			continue
		}
		if *s.Value, id, err = keyset.EncryptValue(*s.Value, r.GetName(), s.Field); err != nil {
			return 0, err
		}
		if key == 0 {
			key = id
		}
	}
	return key, nil
}

// Decrypt decrypts the secrets of a resource. Those that it can't decrypt stay as they are, and the error names each.
func (k *Kind) Decrypt(r Resource, keyset *secret.Keyset) error {
	var failed []error
	for _, s := range k.Secrets(r) {
		if !secret.Encrypted(*s.Value) {
			continue
		}
		clear, err := keyset.DecryptValue(*s.Value, r.GetName(), s.Field)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		*s.Value = clear
	}
	return errors.Join(failed...)
}

// Encrypted are the fields of a resource that hold encrypted secrets.
func (k *Kind) Encrypted(r Resource) (fields []string) {
	for _, s := range k.Secrets(r) {
		if secret.Encrypted(*s.Value) {
			fields = append(fields, s.Field)
		}
	}
	return fields
}
