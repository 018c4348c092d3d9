package configclient

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// seal encrypts what a service keeps in the store, by keys that the service's own API key yields: no further file to mount,
// replicas share it, and nobody else can read or make what is kept.
type seal struct {
	aead cipher.AEAD
	mac  []byte
}

func newSeal(key, purpose string) (*seal, error) {
	fail := func(err error) (*seal, error) {
		return nil, fmt.Errorf("derive the key for what the store keeps: %w", err)
	}
	raw, err := hkdf.Key(sha256.New, []byte(key), nil, purpose, 32)
	if err != nil {
		return fail(err)
	}
	mac, err := hkdf.Key(sha256.New, []byte(key), nil, purpose+", addresses", 32)
	if err != nil {
		return fail(err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return fail(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return fail(err)
	}
	return &seal{aead, mac}, nil
}

// close appends what is encrypted to dst.
func (s *seal) close(dst, content, bound []byte) []byte { return s.aead.Seal(dst, nil, content, bound) }

func (s *seal) open(content, bound []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, content, bound)
}

// address does not tell whether a content is one that somebody guesses.
func (s *seal) address(body []byte) string {
	h := hmac.New(sha256.New, s.mac)
	_, _ = h.Write(body) // never fails
	return string(h.Sum(nil))
}

func plainAddress(body []byte) string {
	sum := sha256.Sum256(body)
	return string(sum[:])
}
