package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tollgate/tollgate/pkg/daemon"
	"github.com/tollgate/tollgate/services/config"
	"github.com/tollgate/tollgate/services/ingest"
	"github.com/tollgate/tollgate/services/provision"
	"github.com/tollgate/tollgate/services/safeguard"
	"github.com/tollgate/tollgate/services/tollgate/cli"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/trigger"
	"github.com/tollgate/tollgate/services/webhook"
)

// The test's own binary is each program that the documents name, by the name that it is called by.
const (
	modeVariable   = "DOCS_TEST_MODE"
	modeRun        = "run"
	modeCheck      = "check"
	faultsVariable = "DOCS_TEST_FAULTS"
)

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	switch os.Getenv(modeVariable) {
	case modeRun:
		os.Exit(execute(name, os.Args[1:]))
	case modeCheck:
		if err := check(name, os.Args[1:]); err != nil {
			fault := fmt.Sprintf("%s: %s %s: %v\n", os.Getenv("at"), name, strings.Join(os.Args[1:], " "), err)
			if err := appendTo(os.Getenv(faultsVariable), fault); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// program makes the test's binary callable by these names in a folder.
func program(t *testing.T, dir string, names ...string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// execute does what a program does. A change of the configuration is in force when it returns: a reader takes longer than
// that to come to the next command.
func execute(name string, args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var code int
	var changes bool
	switch name {
	case "tollgate":
		code = cli.Run(ctx, args, command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, time.Now())
		changes = len(args) > 0 && args[0] == "apply"
	case "grpcurl":
		method, err := grpcurl(ctx, args)
		if err != nil {
			fmt.Fprintln(os.Stderr, "grpcurl:", err)
			code = 1
		}
		changes = strings.HasPrefix(method, "tollgate.config.")
	default:
		fmt.Fprintln(os.Stderr, name, "is no program of this test")
		return 1
	}
	if code == 0 && changes {
		if err := awaitInForce(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// check parses a command line.
func check(name string, args []string) error {
	switch name {
	case "tollgate":
		return cli.Check(args)
	case "go":
		fmt.Println("/go")
		return nil
	case "make":
		return checkMake(args)
	}
	load, ok := configurations[strings.TrimPrefix(name, "tollgate-")]
	if !ok {
		return errors.New("it is no program of ours")
	}
	path := ""
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-config" && i+1 < len(args):
			i++
			path = args[i]
		case args[i] != "-check-config" && args[i] != "-healthy":
			return fmt.Errorf("it has no flag %s", args[i])
		}
	}
	return load(path, os.Environ())
}

// configurations read and validate a configuration as each service does.
var configurations = map[string]func(path string, environ []string) error{
	"config":    loading(config.DefaultConfig),
	"ingest":    loading(ingest.DefaultConfig),
	"provision": loading(provision.DefaultConfig),
	"safeguard": loading(safeguard.DefaultConfig),
	"trigger":   loading(trigger.DefaultConfig),
	"webhook":   loading(webhook.DefaultConfig),
}

func loading[C daemon.Configuration](defaults func() C) func(string, []string) error {
	return func(path string, environ []string) error {
		cfg := defaults()
		return daemon.Load(path, environ, &cfg)
	}
}

// checkMake looks for targets and variables in the Makefile.
func checkMake(args []string) error {
	text, err := os.ReadFile("Makefile")
	if err != nil {
		return err
	}
	for _, arg := range args {
		if name, _, ok := strings.Cut(arg, "="); ok {
			if !strings.Contains(string(text), "$("+name+")") && !strings.Contains(string(text), name+"=") {
				return fmt.Errorf("the Makefile reads no variable %s", name)
			}
			continue
		}
		// bench-safeguard stands there as bench-%, with safeguard in a list of those that have one.
		kind, of, _ := strings.Cut(arg, "-")
		pattern := strings.Contains(string(text), ":%="+kind+"-%)") && regexp.MustCompile(`(?m)^\w+ +:= .*\b`+regexp.QuoteMeta(of)+`\b`).Match(text)
		if !pattern && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(arg)+`:`).Match(text) {
			return fmt.Errorf("the Makefile has no target %s", arg)
		}
	}
	return nil
}
