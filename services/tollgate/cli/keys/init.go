package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tollgate/tollgate/pkg/rpc"
	"github.com/tollgate/tollgate/pkg/secret"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Init makes the files of keys that an installation needs, in a folder each, so that a process is given those alone that
// it reads.
type Init struct {
	command.Listing
	Dir      string `arg:"" help:"Folder to make them in."`
	Database string `help:"URL of the PostgreSQL database of config, without a password. A password is drawn into database/password, and database/url is the URL with it." placeholder:"URL"`
}

// Help is shown below the flags.
func (Init) Help() string {
	return `Makes what is missing, and changes no file that is there, so that it may run before every start:

    operator/api-key             the key of the command line
    service/service-key          the key by which services follow config (config.api_key_file)
    hashes/api-key-hashes        what services know the first one by (grpc.api_key_hashes_file)
    hashes/service-key-hashes    what they know the second one by (grpc.service_key_hashes_file)
    keyset/keyset.json           what secrets of the configuration are encrypted with (secrets.keyset_file)
    database/password            with --database: the password of PostgreSQL
    database/url                 with --database: the URL for database.url_file

Example:

    tollgate keys init /etc/tollgate/keys

    tollgate keys init /etc/tollgate/keys --database 'postgres://tollgate@db.example:5432/tollgate?sslmode=verify-full'`
}

// Modes of files: a server that runs as another user reads them by its group.
const (
	ownersOnly = 0o600
	groupReads = 0o640
)

// madeFile is a file, and whether it was there already.
type madeFile struct {
	File string `json:"file"`
	Made bool   `json:"made"`
}

// Run makes.
func (c Init) Run(streams command.Streams) error {
	database, err := c.database()
	if err != nil {
		return err
	}
	var rows []madeFile
	for _, step := range []func() ([]madeFile, error){
		func() ([]madeFile, error) { return c.key("operator/api-key", "hashes/api-key-hashes") },
		func() ([]madeFile, error) { return c.key("service/service-key", "hashes/service-key-hashes") },
		c.keyset,
		func() ([]madeFile, error) { return c.password(database) },
	} {
		made, err := step()
		if err != nil {
			return fmt.Errorf("make keys: %w", err)
		}
		rows = append(rows, made...)
	}
	return command.Write(c.Listing, streams.Out, rows, []string{"file", ""}, func(r madeFile) []string {
		if r.Made {
			return []string{r.File, "made"}
		}
		return []string{r.File, "was there"}
	})
}

// database is the URL of --database; nil without.
func (c Init) database() (*url.URL, error) {
	if c.Database == "" {
		return nil, nil
	}
	u, err := url.Parse(c.Database)
	if err != nil || u.Scheme != "postgres" || u.User.Username() == "" || strings.Trim(u.Path, "/") == "" {
		return nil, command.UsageError("--database must be a URL such as postgres://user@host:5432/name?sslmode=verify-full")
	}
	if _, given := u.User.Password(); given {
		return nil, command.UsageError("--database must hold no password: one is drawn")
	}
	return u, nil
}

// key makes a key, and has its hash in a file of hashes. A run that ended between the two is completed by the next.
func (c Init) key(keyFile, hashesFile string) ([]madeFile, error) {
	made, err := c.ensure(keyFile, "tg_"+base64.RawURLEncoding.EncodeToString(drawn()), ownersOnly)
	if err != nil {
		return nil, err
	}
	key, err := rpc.ReadKey(made.File)
	if err != nil {
		return nil, err
	}
	hashes := madeFile{File: filepath.Join(c.Dir, hashesFile)}
	content, err := os.ReadFile(hashes.File)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if hash := rpc.HashKey(key); !slices.Contains(strings.Fields(string(content)), hash) {
		hashes.Made = true
		if err := errors.Join(os.MkdirAll(filepath.Dir(hashes.File), 0o750), appendLine(hashes.File, hash, 0)); err != nil {
			return nil, err
		}
	}
	return []madeFile{made, hashes}, nil
}

func (c Init) keyset() ([]madeFile, error) {
	made, err := c.whole("keyset/keyset.json", func(path string) error {
		_, err := secret.Create(path)
		return err
	})
	return []madeFile{made}, err
}

// password draws the password of a database that is yet to be made, and writes its URL beside it.
func (c Init) password(database *url.URL) ([]madeFile, error) {
	if database == nil {
		return nil, nil
	}
	password, err := c.ensure("database/password", rand.Text(), groupReads)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(password.File)
	if err != nil {
		return nil, err
	}
	database.User = url.UserPassword(database.User.Username(), strings.TrimSpace(string(content)))
	address, err := c.ensure("database/url", database.String(), ownersOnly)
	return []madeFile{password, address}, err
}

// ensure writes a line into a file that is missing.
func (c Init) ensure(name, line string, mode fs.FileMode) (madeFile, error) {
	return c.whole(name, func(path string) error {
		if err := appendLine(path, line, os.O_EXCL); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
}

// whole makes a file that is missing, as a whole or not at all.
func (c Init) whole(name string, write func(path string) error) (madeFile, error) {
	made := madeFile{File: filepath.Join(c.Dir, name)}
	if _, err := os.Stat(made.File); !errors.Is(err, fs.ErrNotExist) {
		return made, err
	}
	made.Made = true
	if err := os.MkdirAll(filepath.Dir(made.File), 0o750); err != nil {
		return made, err
	}
	next := made.File + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return made, err
	}
	if err := write(next); err != nil {
		return made, err
	}
	return made, os.Rename(next, made.File)
}

// drawn are 32 bytes of the system's source, which never fails.
func drawn() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}
