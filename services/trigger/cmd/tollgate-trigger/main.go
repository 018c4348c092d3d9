// Command tollgate-trigger decides whom each event notifies; see package trigger.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/trigger"
)

func main() { daemon.Main("trigger", trigger.DefaultConfig(), trigger.Run) }
