package secret

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func created(t testing.TB) (string, *Keyset) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyset.json")
	if _, err := Create(path); err != nil {
		t.Fatal(err)
	}
	k, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, k
}

func TestEncrypt_IsDecryptedInTheSameContextAlone(t *testing.T) {
	_, k := created(t)
	rapid.Check(t, func(t *rapid.T) {
		clear := rapid.SliceOf(rapid.Byte()).Draw(t, "clear")
		here, there := rapid.SliceOf(rapid.Byte()).Draw(t, "here"), rapid.SliceOf(rapid.Byte()).Draw(t, "there")
		encrypted, err := k.Encrypt(clear, here)
		if err != nil {
			t.Fatal(err)
		}
		if len(clear) > 8 && bytes.Contains(encrypted, clear) {
			t.Fatal("what is encrypted shows what it was")
		}
		if again, err := k.Encrypt(clear, here); err != nil || bytes.Equal(again, encrypted) {
			t.Fatalf("the same again, which shows that it is the same (%v)", err)
		}
		if got, err := k.Decrypt(encrypted, here); err != nil || !bytes.Equal(got, clear) {
			t.Fatalf("got %q, %v", got, err)
		}
		if _, err := k.Decrypt(encrypted, there); !bytes.Equal(here, there) && !errors.Is(err, ErrMoved) {
			t.Fatalf("in another context: %v, want ErrMoved", err)
		}
		i := rapid.IntRange(0, len(encrypted)-1).Draw(t, "damaged byte")
		encrypted[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		if _, err := k.Decrypt(encrypted, here); !errors.Is(err, ErrDamaged) {
			t.Fatalf("with byte %d damaged: %v, want ErrDamaged", i, err)
		}
	})
}

func TestEncryptValue_IsBoundToItsFieldAndNeverShown(t *testing.T) {
	path, k := created(t)
	const name, field, clear = "tenants/acme/endpoints/crm", "auth.basic.password", "correct horse battery staple"
	value, id, err := k.EncryptValue(clear, name, field)
	if err != nil {
		t.Fatal(err)
	}
	if !Encrypted(value) || Encrypted(clear) || strings.Contains(value, clear) || id != k.Primary() {
		t.Fatalf("encrypted as %q with key %s", value, id)
	}
	_, other := created(t)
	var none *Keyset
	for _, c := range []struct {
		what              string
		keyset            *Keyset
		value, name, path string
		want              error
	}{
		{"the same field", k, value, name, field, nil},
		{"another field", k, value, name, "auth.bearer.token", ErrMoved},
		{"the same field of another resource", k, value, "tenants/acme/endpoints/crn", field, ErrMoved},
		{"a name and a field that join to the same text", k, value, name + "\nauth.basic", "password", ErrMoved},
		{"another keyset", other, value, name, field, ErrUnknownKey},
		{"no keyset", none, value, name, field, ErrNoKeyset},
		{"a value that was cut", k, value[:len(value)-4], name, field, ErrDamaged},
		{"a value of which little is left", k, Prefix + "AAAA", name, field, ErrDamaged},
		{"a value with another letter", k, value[:30] + other1(value[30:31]) + value[31:], name, field, ErrDamaged},
		{"a value in clear", k, clear, name, field, ErrDamaged},
		{"a value that is no base64", k, Prefix + clear, name, field, ErrDamaged},
	} {
		got, err := c.keyset.DecryptValue(c.value, c.name, c.path)
		if !errors.Is(err, c.want) || err == nil && got != clear {
			t.Errorf("%s: got %q, %v, want %v", c.what, got, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), clear) || strings.Contains(err.Error(), strings.TrimPrefix(value, Prefix)[:20])) {
			t.Errorf("%s: the error shows the value: %v", c.what, err)
		}
	}
	if of, err := KeyOfValue(value); err != nil || of != id {
		t.Errorf("the value is of key %s, %v, want %s", of, err, id)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(k), fmt.Sprintf("%v %+v %#v", k, k, k), fmt.Sprintf("%v", struct{ K *Keyset }{k}.K)} {
		if !strings.Contains(shown, path) || strings.Contains(shown, string(content[20:40])) {
			t.Errorf("a keyset shows itself as %s", shown)
		}
	}
}

func other1(letter string) string {
	if letter == "A" {
		return "B"
	}
	return "A"
}

// The three steps of a rotation, with one reader that reads the new file at once and one that is a step behind.
func TestRotation_WhateverIsWrittenCanBeReadByWhoIsAStepBehind(t *testing.T) {
	path, writer := created(t)
	first := writer.Primary()
	behind := filepath.Join(t.TempDir(), "keyset.json")
	distribute := func() {
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(behind+".next", content, 0o600)
		}
		if err == nil {
			err = os.Rename(behind+".next", behind)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	distribute()
	reader, err := Open(behind)
	if err != nil {
		t.Fatal(err)
	}
	check := func(step string, primary KeyID) {
		t.Helper()
		encrypted, err := writer.Encrypt([]byte(step), nil)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := KeyOf(encrypted); err != nil || id != primary {
			t.Errorf("%s: encrypted with %s, %v, want %s", step, id, err, primary)
		}
		if got, err := reader.Decrypt(encrypted, nil); err != nil || string(got) != step {
			t.Errorf("%s: who has the file of the step before reads %q, %v", step, got, err)
		}
		distribute()
		if got, err := reader.Decrypt(encrypted, nil); err != nil || string(got) != step {
			t.Errorf("%s: who has the same file reads %q, %v", step, got, err)
		}
	}
	old, err := writer.Encrypt([]byte("old"), nil)
	if err != nil {
		t.Fatal(err)
	}
	unused := func([]KeyID) error { return nil }
	if _, err := Promote(path); err == nil {
		t.Error("the only key was promoted")
	}
	if _, err := DropOld(path, unused); err == nil {
		t.Error("the only key was dropped")
	}
	second, err := Add(path)
	if err != nil {
		t.Fatal(err)
	}
	check("added", first)
	if _, err := Add(path); err == nil || !strings.Contains(err.Error(), "promote it first") {
		t.Errorf("a second key added before the first is primary: %v", err)
	}
	if _, err := DropOld(path, unused); err == nil || !strings.Contains(err.Error(), "promote it first") {
		t.Errorf("old keys dropped before the new one is primary: %v", err)
	}
	if promoted, err := Promote(path); err != nil || promoted != second {
		t.Fatalf("promoted %s, %v, want %s", promoted, err, second)
	}
	check("promoted", second)
	inUse := errors.New("3 values are encrypted with it")
	if _, err := DropOld(path, func(ids []KeyID) error {
		if !slices.Equal(ids, []KeyID{first}) {
			t.Errorf("asked whether %s are in use, want %s", ids, first)
		}
		return inUse
	}); !errors.Is(err, inUse) {
		t.Errorf("dropped what is in use: %v", err)
	}
	check("not dropped", second)
	if got, err := writer.Decrypt(old, nil); err != nil || string(got) != "old" {
		t.Errorf("what an old key encrypted reads %q, %v", got, err)
	}
	if dropped, err := DropOld(path, unused); err != nil || !slices.Equal(dropped, []KeyID{first}) {
		t.Fatalf("dropped %s, %v, want %s", dropped, err, first)
	}
	check("dropped", second)
	fresh, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Decrypt(old, nil); !errors.Is(err, ErrUnknownKey) || !strings.Contains(err.Error(), first.String()) {
		t.Errorf("what a dropped key encrypted: %v, want ErrUnknownKey with the key", err)
	}
}

func TestOpen_RefusesWhatIsNoKeysetOrLiesOpen(t *testing.T) {
	path, k := created(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what    string
		mode    os.FileMode
		content []byte
		want    string
	}{
		{"readable by all", 0o644, whole, "mode 0644"},
		{"writable by its group", 0o660, whole, "mode 0660"},
		{"readable by its group", 0o640, whole, ""},
		{"of the owner alone, who may not write it", 0o400, whole, ""},
		{"empty", 0o600, nil, "holds no keyset"},
		{"cut", 0o600, whole[:len(whole)/2], "holds no keyset"},
		{"something else", 0o600, []byte("whsec_c2VjcmV0"), "holds no keyset"},
		{"a keyset without a key", 0o600, []byte(`{"primaryKeyId":1,"key":[]}`), "holds no keyset"},
	} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(file)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file)) {
			t.Errorf("%s: %v, want %q and the file", c.what, err, c.want)
		}
		if err != nil && len(c.content) > 0 && strings.Contains(err.Error(), string(c.content)) {
			t.Errorf("%s: the error shows the content: %v", c.what, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a folder was opened")
	}
	if _, err := Create(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("a keyset was overwritten: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a keyset is made with %v, %v", info.Mode(), err)
	}

	// What is in use stays in use while the file can't be read, and that is known.
	if err := os.WriteFile(path, whole[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	encrypted, err := k.Encrypt([]byte("kept"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Decrypt(encrypted, nil); err != nil || string(got) != "kept" || k.Check() == nil {
		t.Errorf("with a damaged file: %q, %v, found %v", got, err, k.Check())
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Check(); err != nil {
		t.Errorf("with the file put back: %v", err)
	}
}

func TestChange_KeepsModeAndLinkAndRunsAlone(t *testing.T) {
	path, _ := created(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Symlink(path, link), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	if _, err := Add(link); err != nil {
		t.Fatal(err)
	}
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("the link came to be %q, %v", target, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode came to be %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Promote(path); err == nil || !strings.Contains(err.Error(), path+".new exists") {
		t.Errorf("beside another change: %v", err)
	}
	if _, err := os.Stat(path + ".new"); err != nil {
		t.Errorf("the other change's file: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a refused change changed the file (%v)", err)
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if _, err := Promote(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a change left its file: %v", err)
	}
	if _, err := Add(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a keyset that is not there: %v", err)
	}
}

func TestKeyset_IsUsedByManyWhileItChanges(t *testing.T) {
	path, k := created(t)
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				encrypted, err := k.Encrypt([]byte("text"), nil)
				if err == nil {
					_, err = k.Decrypt(encrypted, nil)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		_, added := Add(path)
		_, promoted := Promote(path)
		if err := errors.Join(added, promoted); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	users.Wait()
	if n := len(k.Keys()); n != 6 {
		t.Errorf("%d keys, want 6", n)
	}
}
