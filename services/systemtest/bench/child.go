package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Receive is the argument with which a benchmark runs as its own receiver.
const Receive = "receive"

// StartReceiver runs this program again, as its receiver, and reads the line by which that describes itself. It ends with its
// standard input, so also where this process is killed.
func StartReceiver(ctx context.Context, described any) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, Receive)
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return nil, err
	}
	stop = func() error { return errors.Join(in.Close(), cmd.Wait()) }
	if err := json.NewDecoder(out).Decode(described); err != nil {
		return nil, errors.Join(fmt.Errorf("start receiver: %w", err), stop())
	}
	return stop, nil
}

// Described prints the line, and returns once the receiver is to end.
func Described(description any) error {
	if err := json.NewEncoder(os.Stdout).Encode(description); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // what ends it is its end
	return nil
}
