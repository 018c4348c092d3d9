// Package secrettest makes keysets for tests.
package secrettest

import (
	"path/filepath"
	"testing"

	"github.com/tollgate/tollgate/pkg/secret"
)

// File is the file of a keyset of its own.
func File(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := secret.Create(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Open reads a keyset.
func Open(t testing.TB, path string) *secret.Keyset {
	t.Helper()
	k, err := secret.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
