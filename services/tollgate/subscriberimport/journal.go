package subscriberimport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tollgate/tollgate/pkg/fault"
)

// journal is how far a file has been acknowledged; it is stored beside the file.
type journal struct {
	// Of what it is: content and form, since both decide which events rows are.
	SHA256      string    `json:"sha256"`
	Tenant      string    `json:"tenant"`
	Separator   string    `json:"separator"`
	ActivatedAt time.Time `json:"activated_at,omitzero"`

	// Offset is after the last settled row: every row before it is accepted or rejected.
	Offset    int64     `json:"offset"`
	Accepted  int64     `json:"accepted"`
	Refused   int64     `json:"refused"`
	Complete  bool      `json:"complete"`
	UpdatedAt time.Time `json:"updated_at"`
}

// settled is how many rows have a result.
func (j *journal) settled() int64 { return j.Accepted + j.Refused }

// reasonDifferentFile: the journal is not one of this file as it is now.
const reasonDifferentFile = "JOURNAL_OF_OTHER_CONTENT"

// IsDifferentFile reports that an import ended because its journal belongs to another file, or to this one read in
// another form.
func IsDifferentFile(err error) bool { return fault.ReasonOf(err) == reasonDifferentFile }

// resume reads the journal at path and checks that it belongs to the import; a new journal where there is none.
func resume(path string, form Form, sum string) (*journal, error) {
	fresh := &journal{SHA256: sum, Tenant: form.Tenant, Separator: string(form.Separator), ActivatedAt: form.ActivatedAt}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	j := &journal{}
	if err := json.Unmarshal(content, j); err != nil {
		return nil, fmt.Errorf("read journal %s: %w", path, err)
	}
	var f fault.Violations
	differs := func(what string, is, was any) {
		if is != was {
			f.Add("", "%s: %s is of %v, not of %v", path, what, was, is)
		}
	}
	if j.SHA256 != sum {
		f.Add("", "%s is of a file with other content", path)
	}
	differs("tenant", form.Tenant, j.Tenant)
	differs("separator", fresh.Separator, j.Separator)
	differs("activated-at", form.ActivatedAt.Format(time.RFC3339Nano), j.ActivatedAt.Format(time.RFC3339Nano))
	if err := f.Err(reasonDifferentFile); err != nil {
		return nil, err
	}
	return j, nil
}

// save replaces the journal at path. However the process or the machine ends, the file holds this state or the previous
// one.
func (j *journal) save(path string, now time.Time) (err error) {
	j.UpdatedAt = now.UTC().Truncate(time.Millisecond)
	content, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write journal: %w", errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(append(content, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
