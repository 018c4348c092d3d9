package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// UntilSignal is the root context of a program that is not a service, such as a command: it ends with SIGTERM or
// SIGINT; a second one ends the process at once.
func UntilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx
}
