// Command tollgate-config runs the configuration service.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/config"
)

func main() { daemon.Main("config", config.DefaultConfig(), config.Run) }
