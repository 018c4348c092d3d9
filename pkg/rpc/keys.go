package rpc

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tollgate/tollgate/pkg/access"
)

// Keys are API keys of a file. Only their hashes are known.
type Keys struct {
	hashes [][sha256.Size]byte
}

// HashKey is the form of a key in configuration: its SHA-256 in hex.
func HashKey(key string) string {
	return access.HashOf(key).String()
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
