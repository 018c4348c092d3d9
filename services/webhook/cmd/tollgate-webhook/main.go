// Command tollgate-webhook notifies endpoints over HTTPS; see package webhook.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/webhook"
)

func main() { daemon.Main("webhook", webhook.DefaultConfig(), webhook.Run) }
