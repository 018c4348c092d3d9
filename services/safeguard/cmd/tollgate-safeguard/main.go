// Command tollgate-safeguard counts spend against limits; see package safeguard.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/safeguard"
)

func main() { daemon.Main("safeguard", safeguard.DefaultConfig(), safeguard.Run) }
