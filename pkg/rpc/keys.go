package rpc

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Keys are the accepted API keys. Only their hashes are known.
type Keys struct {
	hashes [][sha256.Size]byte
}

// HashKey is the form of a key in configuration: its SHA-256 in hex.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// LoadKeys reads hashes and those of the file at path (none where path is empty): one hash a line; blank lines and
// lines that begin with # are ignored. The error names every line that is not a hash.
func LoadKeys(hashes []string, path string) (*Keys, error) {
	k := &Keys{}
	var faults []error
	add := func(place, text string) {
		h, err := parseHash(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", place, err))
			return
		}
		k.hashes = append(k.hashes, h)
	}
	for i, h := range hashes {
		add(fmt.Sprintf("api_key_hashes[%d]", i), h)
	}
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read API key hashes: %w", err)
		}
		n := 0
		for line := range strings.Lines(string(content)) {
			n++
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				add(fmt.Sprintf("%s:%d", path, n), line)
			}
		}
	}
	return k, errors.Join(faults...)
}

// parseHash never repeats text in its error: it may be the key itself.
func parseHash(text string) (hash [sha256.Size]byte, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != sha256.Size {
		return hash, errors.New("must be the SHA-256 of a key, 64 hexadecimal digits")
	}
	return [sha256.Size]byte(raw), nil
}

// Len is the number of accepted keys.
func (k *Keys) Len() int { return len(k.hashes) }

// Check reports whether key is accepted, in constant time.
func (k *Keys) Check(key string) bool {
	sum := sha256.Sum256([]byte(key))
	found := 0
	for _, h := range k.hashes {
		found |= subtle.ConstantTimeCompare(sum[:], h[:])
	}
	return found == 1 && key != ""
}

// Authenticate checks an Authorization header, "Bearer <key>", of gRPC metadata or HTTP. caller is the beginning of the
// key's hash, safe for logs. The error is a fault of kind Unauthenticated.
func (k *Keys) Authenticate(authorization string) (caller string, err error) {
	const scheme = "bearer "
	if len(authorization) <= len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return "", fault.New(fault.Unauthenticated, reason.APIKeyMissing, "send an API key as authorization: Bearer <key>")
	}
	key := strings.TrimSpace(authorization[len(scheme):])
	if !k.Check(key) {
		return "", fault.New(fault.Unauthenticated, reason.APIKeyUnknown, "the API key is not known")
	}
	return HashKey(key)[:8], nil
}

// Has is Check for an Authorization header.
func (k *Keys) Has(authorization string) bool {
	_, err := k.Authenticate(authorization)
	return err == nil
}

// ReadKey reads the API key from the file at path, without surrounding white space; empty where path is empty.
func ReadKey(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read API key: %w", err)
	}
	key := strings.TrimSpace(string(content))
	if key == "" {
		return "", fmt.Errorf("read API key: %s is empty", path)
	}
	return key, nil
}
