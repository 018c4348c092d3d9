// Command tollgate-ingest takes events in; see package ingest.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/ingest"
)

func main() { daemon.Main("ingest", ingest.DefaultConfig(), ingest.Run) }
