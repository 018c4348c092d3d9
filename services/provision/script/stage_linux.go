package script

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stageName is the first argument of this same program when it is started to become a script.
const stageName = "tollgate: about to run a script"

// failed is the exit status of a stage that could not become its script.
const failed = 126

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
	os.Exit(failed)
}

// resources are what Run bounds, in the order in which it writes them.
var resources = [...]struct {
	name string
	id   int
}{
	{"file size", unix.RLIMIT_FSIZE}, {"open files", unix.RLIMIT_NOFILE}, {"processes", unix.RLIMIT_NPROC}, {"core", unix.RLIMIT_CORE},
	{"memory", unix.RLIMIT_AS},
}

// stageEnv is the environment of a stage: between its bounds and the script no other goroutine of it runs, and none is put in its
// place.
var stageEnv = []string{"GOMAXPROCS=1", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}

// become returns only with an error, before any bound holds.
func become(limits string, argv []string) error {
	runtime.LockOSThread() // privileges are those of a thread
	values := strings.Split(limits, ",")
	if len(values) != len(resources) {
		return fmt.Errorf("%d limits are given, not %d", len(values), len(resources))
	}
	var bounds [len(resources)]*unix.Rlimit
	for i, value := range values {
		if value == "" {
			continue
		}
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return err
		}
		bounds[i] = &unix.Rlimit{Cur: n, Max: n}
	}
	// Whatever was inherited but the standard streams and the script itself is closed when the script begins.
	if err := unix.CloseRange(programFD+1, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close what was inherited: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	path, err := unix.BytePtrFromString(argv[0])
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"})
	if err != nil {
		return err
	}
	bound(&bounds, path, args, env)
	return nil
}

// bound sets the bounds and begins the script; it does not return. Go's runtime takes more address space and threads than a script
// may, and dies where it has to ask for more. So nothing is allocated here, no call lets go of the one processor that the stage has,
// and memory is bounded last.
func bound(bounds *[len(resources)]*unix.Rlimit, path *byte, args, env []*byte) {
	message := append(make([]byte, 0, 256), "start the script: "...)
	what := "run it"
	var errno syscall.Errno
	for i, b := range bounds {
		if b == nil {
			continue
		}
		if _, _, errno = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(resources[i].id), uintptr(unsafe.Pointer(b)), 0, 0, 0); errno != 0 {
			what = resources[i].name
			break
		}
	}
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])))
	}
	message = append(append(append(append(message, what...), ": "...), errno.Error()...), '\n')
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(&message[0])), uintptr(len(message)))
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, failed, 0, 0)
}
