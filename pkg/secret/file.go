package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Keys are changed in three steps, so that no reader ever meets a key that it has not: Add, and the file goes to every
// service; Promote, and again; DropOld once nothing stands under another key.

// Create makes a keyset of one key in a file that must not exist, for its owner alone.
func Create(path string) (KeyID, error) {
	m := keyset.NewManager()
	id, err := add(m)
	if err == nil {
		err = m.SetPrimary(uint32(id))
	}
	if err != nil {
		return 0, fmt.Errorf("make keyset: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("make keyset: %w", err)
	}
	if err := write(f, m); err != nil {
		// What is half written is no keyset, and nothing was encrypted with it.
		return 0, errors.Join(fmt.Errorf("make keyset: %w", err), os.Remove(path))
	}
	return id, syncFolder(path)
}

// Add adds a key that only decrypts until it is promoted.
func Add(path string) (added KeyID, err error) {
	err = change(path, func(now keys, m *keyset.Manager) error {
		if newest := now.all[len(now.all)-1]; newest != now.primary {
			return fmt.Errorf("key %s was added and is not primary yet: promote it first", newest)
		}
		added, err = add(m)
		return err
	})
	return added, err
}

// Promote makes the key that was added last the one that is encrypted with.
func Promote(path string) (promoted KeyID, err error) {
	err = change(path, func(now keys, m *keyset.Manager) error {
		if promoted = now.all[len(now.all)-1]; promoted == now.primary {
			return errors.New("the key that was added last is primary already: add one first")
		}
		return m.SetPrimary(uint32(promoted))
	})
	return promoted, err
}

// DropOld removes all keys but the primary one. Nothing may stand under them any more: inUse is called with them first, and
// the file stays as it is where it returns an error.
func DropOld(path string, inUse func([]KeyID) error) (dropped []KeyID, err error) {
	err = change(path, func(now keys, m *keyset.Manager) error {
		if newest := now.all[len(now.all)-1]; newest != now.primary {
			return fmt.Errorf("key %s was added and is not primary yet: promote it first", newest)
		}
		for _, id := range now.all {
			if id != now.primary {
				dropped = append(dropped, id)
			}
		}
		if len(dropped) == 0 {
			return errors.New("it has one key, and no old one")
		}
		if err := inUse(dropped); err != nil {
			return err
		}
		for _, id := range dropped {
			if err := m.Delete(uint32(id)); err != nil {
				return err
			}
		}
		return nil
	})
	return dropped, err
}

// add draws a key.
func add(m *keyset.Manager) (KeyID, error) {
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	return KeyID(id), err
}

// change replaces the file by a changed one, at once: a reader sees the old or the new one, and a crash leaves one of both.
// The new file's own name keeps two changes from running at a time.
func change(path string, edit func(keys, *keyset.Manager) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("change keyset %s: %w", path, err)
		}
	}()
	// A link stays a link.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	beside := path + ".new"
	f, err := os.OpenFile(beside, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists: another change is under way, or one broke off, then remove that file", beside)
	}
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, ignoreClosed(f.Close()), os.Remove(beside))
		}
	}()
	now, _, err := read(path)
	if err != nil {
		return err
	}
	m := keyset.NewManagerFromHandle(now.handle)
	if err := edit(now, m); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(info.Mode().Perm()), giveTo(f, info)); err != nil {
		return err
	}
	if err := write(f, m); err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		return err
	}
	renamed = true
	return syncFolder(path)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// write writes and closes the file; it is on the disk then.
func write(f io.WriteCloser, m *keyset.Manager) error {
	handle, err := m.Handle()
	if err == nil {
		err = insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(f))
	}
	if file, ok := f.(*os.File); ok && err == nil {
		err = file.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncFolder has the file's name on the disk.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
