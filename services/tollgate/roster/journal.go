package roster

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

// journal is how far a file has been acknowledged, as it stands beside the file.
type journal struct {
	// Of what it is: content and form, since both decide which events rows are.
	SHA256      string    `json:"sha256"`
	Tenant      string    `json:"tenant"`
	Separator   string    `json:"separator"`
	ActivatedAt time.Time `json:"activated_at,omitzero"`

	// Offset is that behind the last row that was settled: every row before it is accepted or refused.
	Offset    int64     `json:"offset"`
	Accepted  int64     `json:"accepted"`
	Refused   int64     `json:"refused"`
	Complete  bool      `json:"complete"`
	UpdatedAt time.Time `json:"updated_at"`
}

// settled is how many rows have an answer.
func (j *journal) settled() int64 { return j.Accepted + j.Refused }

// reasonOtherContent is that of an error which tells that a journal is not of this file as it is now.
const reasonOtherContent = "JOURNAL_OF_OTHER_CONTENT"

// IsOfOtherContent says whether an import ended because its journal is of another file, or of this one read otherwise.
func IsOfOtherContent(err error) bool { return fault.ReasonOf(err) == reasonOtherContent }

// resume reads the journal at path and judges whether it is of what is to be imported; a new one where there is none.
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
	var f fault.Faults
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
	if err := f.Err(reasonOtherContent); err != nil {
		return nil, err
	}
	return j, nil
}

// save replaces the journal at path. However the process or the machine ends, the file holds this state or the one before.
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
