package secret

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/tink-crypto/tink-go/v2/core/cryptofmt"
)

const (
	sumBytes = 4
	// overhead is the format, Tink's prefix (a byte and the number of the key), nonce and tag of AES-GCM, and the checksum.
	overhead = 1 + cryptofmt.TinkPrefixSize + 12 + 16 + sumBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// KeyOf is the number of the key that something was encrypted with. The error wraps ErrDamaged.
func KeyOf(encrypted []byte) (KeyID, error) {
	n := len(encrypted) - sumBytes
	switch {
	case len(encrypted) < overhead:
		return 0, fmt.Errorf("%w: it is too short", ErrDamaged)
	case binary.BigEndian.Uint32(encrypted[n:]) != checksum(encrypted[:n]):
		return 0, fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	case encrypted[0] != format:
		return 0, fmt.Errorf("format %d is not known: use a binary at least as new as the one that wrote it", encrypted[0])
	case encrypted[1] != cryptofmt.TinkStartByte:
		return 0, fmt.Errorf("%w: it names no key", ErrDamaged)
	}
	return KeyID(binary.BigEndian.Uint32(encrypted[2:])), nil
}

// Prefix begins a value that is encrypted. No secret in clear may begin with it.
const Prefix = "encrypted:"

// Encrypted reports whether a value is an encrypted one.
func Encrypted(value string) bool { return strings.HasPrefix(value, Prefix) }

// context is that of a field of a resource. Names of resources have no line breaks.
func context(name, field string) []byte { return []byte("tollgate secret\n" + name + "\n" + field) }

// EncryptValue encrypts a value of a field of a resource, as a text. It also returns the key.
func (k *Keyset) EncryptValue(clear, name, field string) (string, KeyID, error) {
	encrypted, id, err := k.encrypt([]byte(clear), context(name, field))
	if err != nil {
		return "", 0, fmt.Errorf("encrypt %s of %s: %w", field, name, err)
	}
	return Prefix + base64.RawURLEncoding.EncodeToString(encrypted), id, nil
}

// DecryptValue decrypts what EncryptValue made for the same field of the same resource. The error wraps one of those of
// Decrypt, and repeats nothing of the value.
func (k *Keyset) DecryptValue(value, name, field string) (string, error) {
	encrypted, err := decodeValue(value)
	if err != nil {
		return "", fmt.Errorf("decrypt %s of %s: %w", field, name, err)
	}
	clear, err := k.Decrypt(encrypted, context(name, field))
	if err != nil {
		return "", fmt.Errorf("decrypt %s of %s: %w", field, name, err)
	}
	return string(clear), nil
}

// KeyOfValue is the number of the key that a value was encrypted with.
func KeyOfValue(value string) (KeyID, error) {
	encrypted, err := decodeValue(value)
	if err != nil {
		return 0, err
	}
	return KeyOf(encrypted)
}

func decodeValue(value string) ([]byte, error) {
	text, ok := strings.CutPrefix(value, Prefix)
	if !ok {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, Prefix)
	}
	encrypted, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		// The error of the library shows a character.
		return nil, fmt.Errorf("%w: it is not base64", ErrDamaged)
	}
	return encrypted, nil
}
