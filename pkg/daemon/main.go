package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"go.uber.org/zap"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main is the whole main function of a service: `daemon.Main("trigger", trigger.DefaultConfig(), trigger.Run)`. It does
// not return.
//
// Flags: -config FILE; -check-config, which reads and validates the configuration and starts nothing; and -healthy, which
// asks the process that runs with this configuration whether it is ready. SIGTERM and SIGINT start the stop; a second one
// ends the process at once.
func Main[C Configuration](name string, cfg C, run func(ctx context.Context, cfg C, env Env) error) {
	ctx := UntilSignal()
	boundMemory(ctx)
	os.Exit(start(ctx, name, os.Args[1:], os.Environ(), os.Stderr, cfg, run))
}

func start[C Configuration](
	ctx context.Context, name string, args, environ []string, stderr io.Writer,
	cfg C, run func(ctx context.Context, cfg C, env Env) error,
) int {
	flags := flag.NewFlagSet("tollgate-"+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", "", "read the configuration from this YAML `file`")
	check := flags.Bool("check-config", false, "validate the configuration, start nothing")
	healthy := flags.Bool("healthy", false, "ask the process that runs with this configuration whether it is ready: exit 0 if so, else 1 with what is wrong")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return exitOK
	} else if err != nil {
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", name, flags.Arg(0))
		return exitUsage
	}
	if err := Load(*path, environ, &cfg); err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "%s: %s\n", name, strings.TrimSuffix(line, "\n"))
		}
		return exitUsage
	}
	if *check {
		fmt.Fprintf(stderr, "%s: the configuration is valid\n", name)
		return exitOK
	}
	if *healthy {
		if err := askReady(ctx, cfg.Frame().Admin); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", name, err)
			return exitFailed
		}
		return exitOK
	}
	log, err := NewLogger(name, cfg.Frame().LogLevel, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return exitUsage
	}
	err = Serve(ctx, cfg.Frame(), NewEnv(name, log), func(ctx context.Context, env Env) error { return run(ctx, cfg, env) })
	if err != nil {
		log.Error("stopped", zap.Error(err))
		return exitFailed
	}
	log.Info("stopped")
	return exitOK
}
