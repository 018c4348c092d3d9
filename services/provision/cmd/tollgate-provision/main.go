// Command tollgate-provision asks handlers before an action; see package provision.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/provision"
	"github.com/tollgate/tollgate/services/provision/script"
)

func main() {
	script.Stage()
	daemon.Main("provision", provision.DefaultConfig(), provision.Run)
}
