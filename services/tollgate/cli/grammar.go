package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// Model is the grammar of the command line: its commands with their flags, arguments and help.
func Model() (*kong.Application, error) {
	parser, err := newParser(command.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("read the grammar of the command line: %w", err)
	}
	return parser.Model, nil
}

// Check parses a command line, without the program's name, and runs nothing. The error is what is wrong with it.
func Check(args []string) (err error) {
	parser, err := newParser(command.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
	if err != nil {
		return fmt.Errorf("read the grammar of the command line: %w", err)
	}
	defer func() {
		if r := recover(); r != nil {
			// --help exits once it is written.
			if _, ok := r.(exited); !ok {
				panic(r)
			}
		}
	}()
	_, err = parser.Parse(args)
	return err
}
