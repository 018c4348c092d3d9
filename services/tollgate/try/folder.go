package try

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Files of the folder.
const (
	keyFile     = "api-key"
	keptFile    = "try.json"
	sampleFile  = "sample.yaml"
	receiptFile = "receiver.jsonl"
	mailFile    = "mail.jsonl"
	lockFile    = "lock"
)

// folder is where everything of a run lies.
type folder struct {
	path      string
	temporary bool
	// key is the API key of the run: the one there is, or that of services which run elsewhere.
	key  string
	kept kept
	lock *os.File
	logs []*os.File
}

// keptFormat is raised whenever what lies in a folder is no more read by the services of this version.
const keptFormat = 4

// kept is what one run hands to the next.
type kept struct {
	// Format is keptFormat of the version that made the folder; one without is of before there was any.
	Format int `json:"format"`
	// Run counts the runs of this folder, from 1: subscribers and ids of events are derived from it.
	Run int `json:"run"`
	// Secret signs the webhooks.
	Secret string `json:"secret"`
	// Announced is the newest revision of the configuration that was seen in every partition.
	Announced int64 `json:"announced"`
	// Receiver is where the receiver listened, Mail where the mail server did.
	Receiver string `json:"receiver"`
	Mail     string `json:"mail,omitempty"`
}

// openFolder makes a folder for this user alone, or takes one over that no other run has. A key is drawn where none is given.
func openFolder(path, key string) (*folder, error) {
	f := &folder{path: path, key: key}
	if path == "" {
		made, err := os.MkdirTemp("", "tollgate-try-")
		if err != nil {
			return nil, fmt.Errorf("make a data folder: %w", err)
		}
		f.path, f.temporary = made, true
	} else if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if err := f.open(); err != nil {
		return nil, errors.Join(err, f.close(false))
	}
	return f, nil
}

func (f *folder) open() (err error) {
	if f.lock, err = os.OpenFile(f.file(lockFile), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another tollgate try works in %s", f.path)
	}
	content, err := os.ReadFile(f.file(keptFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.kept.Format, f.kept.Secret = keptFormat, "whsec_"+base64.StdEncoding.EncodeToString(random(32))
	case err != nil:
		return fmt.Errorf("read what the run before kept: %w", err)
	default:
		if err := json.Unmarshal(content, &f.kept); err != nil {
			return fmt.Errorf("read what the run before kept, %s: %w", f.file(keptFile), err)
		}
		if has := max(f.kept.Format, 1); has != keptFormat {
			return fmt.Errorf("the data folder %s is of another version of Tollgate (format %d, this one reads %d): run that version with it, or give --data a new folder", f.path, has, keptFormat)
		}
	}
	f.kept.Run++
	if err := f.keep(); err != nil {
		return err
	}
	if f.key != "" {
		return nil
	}
	key, err := os.ReadFile(f.file(keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		key = []byte("tg_" + base64.RawURLEncoding.EncodeToString(random(32)))
		err = f.write(keyFile, key, 0o600)
	}
	if err != nil {
		return fmt.Errorf("API key: %w", err)
	}
	f.key = string(key)
	return nil
}

// random is from the system's source, which never fails.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func (f *folder) file(name string) string { return filepath.Join(f.path, name) }

func (f *folder) keep() error {
	content, err := json.MarshalIndent(f.kept, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the state of the run: %w", err)
	}
	return f.write(keptFile, append(content, '\n'), 0o600)
}

// write replaces a file as a whole.
func (f *folder) write(name string, content []byte, mode fs.FileMode) error {
	next := f.file(name + ".new")
	if err := os.WriteFile(next, content, mode); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(next, f.file(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// log is the file of a service's log, which goes on with each run.
func (f *folder) log(service string) (io.Writer, error) {
	if err := os.MkdirAll(f.file("log"), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.file(filepath.Join("log", service+".log")), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	f.logs = append(f.logs, file)
	return file, nil
}

// close releases the folder. It removes a temporary one, unless it is kept to look into.
func (f *folder) close(wanted bool) error {
	var faults []error
	for _, file := range append(f.logs, f.lock) {
		if file != nil {
			faults = append(faults, file.Close())
		}
	}
	if f.temporary && !wanted {
		faults = append(faults, os.RemoveAll(f.path))
	}
	return errors.Join(faults...)
}
