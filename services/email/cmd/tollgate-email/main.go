// Command tollgate-email sends e-mail over SMTP; see package email.
package main

import (
	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/email"
)

func main() { daemon.Main("email", email.DefaultConfig(), email.Run) }
