package script

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stageName is the first argument of this same program when it is started to become a script.
const stageName = "tollgate: about to run a script"

// Stage must be called first of all by every program that runs scripts, and by the tests that do. It returns at once, but in
// a process that Run has started: there it bounds itself and becomes the script.
func Stage() {
	if len(os.Args) < 3 || os.Args[0] != stageName {
		return
	}
	// Limits, then the program and its arguments.
	if err := become(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "start the script:", err)
	}
	os.Exit(126)
}

// resources are what Run bounds, in the order in which it writes them.
var resources = [...]struct {
	name string
	id   int
}{
	{"memory", unix.RLIMIT_AS}, {"file size", unix.RLIMIT_FSIZE}, {"open files", unix.RLIMIT_NOFILE},
	{"processes", unix.RLIMIT_NPROC}, {"core", unix.RLIMIT_CORE},
}

func become(limits string, argv []string) error {
	values := strings.Split(limits, ",")
	if len(values) != len(resources) {
		return fmt.Errorf("%d limits are given, not %d", len(values), len(resources))
	}
	// Whatever was inherited but the standard streams and the script itself is closed when the script begins.
	if err := unix.CloseRange(programFD+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close what was inherited: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	for i, r := range resources {
		if values[i] == "" {
			continue
		}
		n, err := strconv.ParseUint(values[i], 10, 64)
		if err != nil {
			return err
		}
		if err := unix.Setrlimit(r.id, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("bound %s: %w", r.name, err)
		}
	}
	return unix.Exec(argv[0], argv, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"})
}
