package script

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// Config is what scripts may use, for all of a service.
type Config struct {
	// Enabled: hooks of kind script are run. Else each of them is a fault.
	Enabled bool `yaml:"enabled" env:"TOLLGATE_SCRIPTS_ENABLED"`
	// User is whom scripts run as, where the service runs as root; required there.
	User string `yaml:"user" env:"TOLLGATE_SCRIPTS_USER"`
	// Wrapper is a program of the operator's and its arguments, put in front of every script, such as bubblewrap. It must
	// hand on the file descriptors that it inherits, and end with what it runs.
	Wrapper []string `yaml:"wrapper" env:"TOLLGATE_SCRIPTS_WRAPPER"`
	// MemoryBytes is the address space of each process of a script: 16 MiB to 64 GiB.
	MemoryBytes int64 `yaml:"memory_bytes" env:"TOLLGATE_SCRIPTS_MEMORY_BYTES"`
	// OutputBytes is how much of the output is read; more is a fault: 1 KiB to 16 MiB.
	OutputBytes int `yaml:"output_bytes" env:"TOLLGATE_SCRIPTS_OUTPUT_BYTES"`
	// FileBytes is the size of each file that a script writes; 0: it writes none.
	FileBytes int64 `yaml:"file_bytes" env:"TOLLGATE_SCRIPTS_FILE_BYTES"`
	// Files is how many files a process of a script has open: 8 to 4,096.
	Files int `yaml:"files" env:"TOLLGATE_SCRIPTS_FILES"`
	// Processes is how many processes and threads the user of scripts has at once, over all scripts: 1 to 10,000. It holds
	// only with a user of its own.
	Processes int `yaml:"processes" env:"TOLLGATE_SCRIPTS_PROCESSES"`
}

// DefaultConfig runs no scripts.
func DefaultConfig() Config {
	return Config{MemoryBytes: 1 << 30, OutputBytes: 1 << 20, FileBytes: 1 << 20, Files: 64, Processes: 256}
}

// Validate lists every fault.
func (c Config) Validate() error {
	var faults []error
	between := func(field string, value, low, high int64) {
		if value < low || value > high {
			faults = append(faults, fmt.Errorf("%s: %d is not %d to %d", field, value, low, high))
		}
	}
	between("memory_bytes", c.MemoryBytes, 16<<20, 64<<30)
	between("output_bytes", int64(c.OutputBytes), 1<<10, 16<<20)
	between("file_bytes", c.FileBytes, 0, 1<<30)
	between("files", int64(c.Files), 8, 4096)
	between("processes", int64(c.Processes), 1, 10_000)
	if len(c.Wrapper) > 0 && !filepath.IsAbs(c.Wrapper[0]) {
		faults = append(faults, fmt.Errorf("wrapper: %q is no absolute path", c.Wrapper[0]))
	}
	if c.Enabled && c.User == "" && os.Geteuid() == 0 {
		faults = append(faults, errors.New("user: is required where the service runs as root: scripts never do"))
	}
	if c.Enabled && c.User != "" {
		if _, _, err := c.ids(); err != nil {
			faults = append(faults, fmt.Errorf("user: %w", err))
		}
	}
	return errors.Join(faults...)
}

// ids are those of the user.
func (c Config) ids() (uid, gid uint32, err error) {
	u, err := user.Lookup(c.User)
	if err != nil {
		return 0, 0, err
	}
	parse := func(s string) uint32 {
		n, parseErr := strconv.ParseUint(s, 10, 32)
		err = errors.Join(err, parseErr)
		return uint32(n)
	}
	if uid, gid = parse(u.Uid), parse(u.Gid); err == nil && (uid == 0 || gid == 0) {
		err = fmt.Errorf("%s is root, or of its group: scripts run as neither", c.User)
	}
	return uid, gid, err
}

// Program is one script.
type Program struct {
	// Path is absolute.
	Path string
	Args []string
	// SHA256 is of the file, in lower-case hexadecimal digits.
	SHA256 string
}

const (
	// maxProgram bounds the file of a script.
	maxProgram = 64 << 20
	// keptErrors is how much of standard error is kept for the log.
	keptErrors = 4 << 10
	// drain is how long what a script left in its pipes is read after its end.
	drain = 100 * time.Millisecond
)

// Output is what a script left.
type Output struct {
	// Status is its exit status; -1 where a signal ended it.
	Status int
	// Stdout is whole, Stderr its beginning.
	Stdout, Stderr []byte
}
