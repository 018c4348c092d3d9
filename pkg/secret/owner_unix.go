//go:build unix

package secret

import (
	"io/fs"
	"os"
	"syscall"
)

// giveTo gives a file the owner and the group of another one: root may change a keyset that a service's user reads.
func giveTo(f *os.File, as fs.FileInfo) error {
	stat, ok := as.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Getuid() && int(stat.Gid) == os.Getgid() {
		return nil
	}
	return f.Chown(int(stat.Uid), int(stat.Gid))
}
