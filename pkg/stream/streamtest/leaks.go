package streamtest

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// VerifyTestMain runs the tests of a package, ends the process, and fails where goroutines are left. They are looked for a few times
// over: a fetch that was given up at a stop stays open at a real broker for half a second.
func VerifyTestMain(m *testing.M) {
	code := m.Run()
	var leaked error
	for range 10 {
		if leaked = goleak.Find(goleak.IgnoreAnyFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster).run")); leaked == nil {
			break
		}
	}
	if leaked != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leaked)
		code = 1
	}
	os.Exit(code)
}
