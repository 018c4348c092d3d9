// Command tollgate is the command line, and the whole product in one process: tollgate try.
package main

import (
	"os"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/provision/script"
	"github.com/tollgate/tollgate/services/tollgate/cli"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

var started = time.Now()

func main() {
	script.Stage()
	os.Exit(cli.Run(daemon.UntilSignal(), os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, started))
}
