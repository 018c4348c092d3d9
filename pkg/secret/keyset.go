package secret

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config names the keyset: the block `secrets:` of a service's file.
type Config struct {
	// KeysetFile holds the keys that secrets are encrypted with, made by tollgate keys seal: the same file for config and for
	// every service that sends. Others can neither read nor write it. A changed file is read again without a restart.
	KeysetFile string `yaml:"keyset_file" env:"TOLLGATE_SECRETS_KEYSET_FILE"`
}

// DefaultConfig is a file beside that of the database, in the working directory.
func DefaultConfig() Config { return Config{KeysetFile: "tollgate-data/keyset.json"} }

// Validate reports every violation at once; Open reads the file.
func (c Config) Validate() error {
	var f fault.Violations
	if c.KeysetFile == "" {
		f.Add("keyset_file", "is required: tollgate keys seal FILE makes one for all services")
	}
	return f.Err(reason.ConfigInvalid)
}

// KeyID is the number of a key: in the keyset, and in what is encrypted with it.
type KeyID uint32

func (id KeyID) String() string { return fmt.Sprintf("%08x", uint32(id)) }

// Why something can't be decrypted.
var (
	// ErrNoKeyset is of a nil Keyset.
	ErrNoKeyset = errors.New("there is no keyset: secrets.keyset_file is empty")
	// ErrUnknownKey is of what was encrypted with a key that the keyset does not have.
	ErrUnknownKey = errors.New("the keyset has no such key")
	// ErrMoved is of what is whole and was encrypted in another context: it was moved there, or the key is another one.
	ErrMoved = errors.New("it was encrypted for another resource or field, or with another key of this number")
	// ErrDamaged is of what is not as it was written.
	ErrDamaged = errors.New("it is damaged")
)

// Keyset encrypts with its primary key and decrypts with all its keys. It shows none of them. Safe for concurrent use.
type Keyset struct {
	path string

	mu   sync.Mutex
	keys keys
	file fs.FileInfo
	// version counts how often the file was read.
	version int
	// failed is why the file could not be read when it had changed; nil where it could.
	failed error
}

// keys are what a file holds.
type keys struct {
	handle  *keyset.Handle
	aead    tink.AEAD
	primary KeyID
	all     []KeyID
}

// Open reads the file of a keyset; the error names it.
func Open(path string) (*Keyset, error) {
	k := &Keyset{path: path}
	var err error
	if k.keys, k.file, err = read(path); err != nil {
		return nil, err
	}
	return k, nil
}

// String is the file, never a key.
func (k *Keyset) String() string {
	if k == nil {
		return "no keyset"
	}
	return "keyset " + k.path
}

// GoString is the file, never a key.
func (k *Keyset) GoString() string { return k.String() }

func read(path string) (keys, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return keys{}, nil, fmt.Errorf("read keyset (tollgate keys seal makes one for all services): %w", err)
	}
	if err := checkMode(path, info.Mode()); err != nil {
		return keys{}, nil, err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return keys{}, nil, fmt.Errorf("read keyset: %w", err)
	}
	found, err := decode(content)
	if err != nil {
		return keys{}, nil, fmt.Errorf("read keyset %s: %w", path, err)
	}
	return found, info, nil
}

// checkMode refuses a file that others have access to. Its group may read it: a container gets it so from its platform.
func checkMode(path string, mode fs.FileMode) error {
	switch {
	case !mode.IsRegular():
		return fmt.Errorf("read keyset: %s is no regular file", path)
	case mode.Perm()&0o027 != 0:
		return fmt.Errorf("read keyset: %s has mode %04o: only its owner may write it and others may not read it, set 0600", path, mode.Perm())
	}
	return nil
}

// errNoKeyset never quotes the file: it holds keys.
var errNoKeyset = errors.New("it holds no keyset made by tollgate keys seal")

func decode(content []byte) (keys, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
	if err != nil {
		return keys{}, errNoKeyset
	}
	info := handle.KeysetInfo()
	out := keys{handle: handle, primary: KeyID(info.GetPrimaryKeyId())}
	for _, one := range info.GetKeyInfo() {
		out.all = append(out.all, KeyID(one.GetKeyId()))
	}
	if out.aead, err = aead.New(handle); err != nil {
		return keys{}, errNoKeyset
	}
	return out, nil
}

// current is what the file holds, or held when it could last be read.
func (k *Keyset) current() (keys, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.path)
	if err != nil {
		k.failed = fmt.Errorf("read keyset: %w", err)
		return k.keys, k.failed
	}
	if k.failed != nil || !os.SameFile(info, k.file) || info.ModTime() != k.file.ModTime() || info.Size() != k.file.Size() {
		found, file, err := read(k.path)
		if k.failed = err; err == nil {
			k.keys, k.file = found, file
			k.version++
		}
	}
	return k.keys, k.failed
}

// Check is why the file can't be read now; what was read before stays in use.
func (k *Keyset) Check() error {
	_, err := k.current()
	return err
}

// Version is another one after each change of the file that could be read: what could not be decrypted may be now.
func (k *Keyset) Version() int {
	_, _ = k.current() // Check is for the error
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version
}

// Primary is the key that Encrypt takes.
func (k *Keyset) Primary() KeyID {
	now, _ := k.current()
	return now.primary
}

// Keys are the numbers of all keys, in the order in which they were added.
func (k *Keyset) Keys() []KeyID {
	now, _ := k.current()
	return now.all
}

// format begins what is encrypted, and ends with a checksum: so damage is not taken for a move.
const format = 1

// Encrypt encrypts with the primary key of now. What comes out can be decrypted in the same context alone.
func (k *Keyset) Encrypt(clear, context []byte) ([]byte, error) {
	encrypted, _, err := k.encrypt(clear, context)
	return encrypted, err
}

func (k *Keyset) encrypt(clear, context []byte) ([]byte, KeyID, error) {
	if k == nil {
		return nil, 0, ErrNoKeyset
	}
	now, _ := k.current()
	encrypted, err := now.aead.Encrypt(clear, context)
	if err != nil {
		return nil, 0, fmt.Errorf("encrypt: %w", err)
	}
	out := append([]byte{format}, encrypted...)
	return binary.BigEndian.AppendUint32(out, checksum(out)), now.primary, nil
}

// Decrypt decrypts what Encrypt made in the same context. The error wraps one of those above.
func (k *Keyset) Decrypt(encrypted, context []byte) ([]byte, error) {
	if k == nil {
		return nil, ErrNoKeyset
	}
	id, err := KeyOf(encrypted)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	now := k.keys
	k.mu.Unlock()
	if !now.has(id) {
		var failed error
		if now, failed = k.current(); !now.has(id) {
			return nil, unknownKey(id, k.path, failed)
		}
	}
	clear, err := now.aead.Decrypt(encrypted[1:len(encrypted)-sumBytes], context)
	if err != nil {
		return nil, ErrMoved
	}
	return clear, nil
}

func unknownKey(id KeyID, path string, failed error) error {
	if failed != nil {
		return fmt.Errorf("key %s: %w, and %s can't be read again: %w", id, ErrUnknownKey, path, failed)
	}
	return fmt.Errorf("key %s: %w, %s", id, ErrUnknownKey, path)
}

func (k keys) has(id KeyID) bool {
	for _, one := range k.all {
		if one == id {
			return true
		}
	}
	return false
}
