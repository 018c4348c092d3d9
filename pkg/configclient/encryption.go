package configclient

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// encryption encrypts what a service keeps in the store, by keys that the service's own API key yields: no further file to mount,
// replicas share it, and nobody else can read or make what is kept.
type encryption struct {
	aead cipher.AEAD
	mac  []byte
}

func newEncryption(key, purpose string) (*encryption, error) {
	fail := func(err error) (*encryption, error) {
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
	return &encryption{aead, mac}, nil
}

// encrypt appends to dst; bound is what it belongs to.
func (e *encryption) encrypt(dst, content, bound []byte) []byte {
	return e.aead.Seal(dst, nil, content, bound)
}

func (e *encryption) decrypt(content, bound []byte) ([]byte, error) {
	return e.aead.Open(nil, nil, content, bound)
}

// address gives nobody a way to find a content by guessing it.
func (e *encryption) address(body []byte) string {
	h := hmac.New(sha256.New, e.mac)
	_, _ = h.Write(body) // never fails
	return string(h.Sum(nil))
}

func plainAddress(body []byte) string {
	sum := sha256.Sum256(body)
	return string(sum[:])
}
