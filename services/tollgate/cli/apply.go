package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// applyCommand brings configuration in.
type applyCommand struct {
	Key
	Listing
	File    string `short:"f" required:"" help:"YAML file, or folder of them." placeholder:"FILE|DIR"`
	DryRun  bool   `help:"Change nothing, show what would change."`
	Address string `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (applyCommand) Help() string {
	return `Each document is one resource: its kind (Tenant, ClassOfService, Endpoint, Notification), its name, and its
fields; several documents in a file are divided by ---. Nothing is changed where a document is at fault; all faults are
told at once. Applying the same again changes nothing.

Example:

    tollgate apply -f acme.yaml --dry-run

    tollgate apply -f acme.yaml`
}

// Run applies.
func (c applyCommand) Run(ctx context.Context, streams Streams) error {
	documents, err := manifest.Read(c.File)
	var unread manifest.Faults
	if err != nil && !errors.As(err, &unread) {
		return err
	}
	conn, err := c.dial(c.Address)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if len(unread) > 0 {
		// What is wrong with the rest is told at the same time, where the service can be asked.
		var wrong manifest.Faults
		if _, err := manifest.Plan(ctx, conn, documents); errors.As(err, &wrong) {
			unread = append(unread, wrong...)
		}
		return unread.Sorted()
	}
	do := manifest.Apply
	if c.DryRun {
		do = manifest.Plan
	}
	outcomes, err := do(ctx, conn, documents)
	var wrong manifest.Faults
	if errors.As(err, &wrong) {
		err = wrong.Sorted()
	} else if err != nil {
		err = fmt.Errorf("configuration service at %s: %w", c.Address, err)
	}
	if c.DryRun && c.Output == "table" && err == nil {
		return c.differences(streams, outcomes)
	}
	if !c.DryRun {
		for i := range outcomes {
			outcomes[i].Difference = ""
		}
	}
	if err != nil && (len(outcomes) == 0 || c.DryRun) {
		return err
	}
	return errors.Join(c.list(streams, outcomes), err)
}

func (c applyCommand) list(streams Streams, outcomes []manifest.Outcome) error {
	return write(c.Listing, streams.Out, outcomes, []string{"kind", "name", "result"}, func(o manifest.Outcome) []string {
		return []string{o.Kind, o.Name, o.Result}
	})
}

func (c applyCommand) differences(streams Streams, outcomes []manifest.Outcome) error {
	for _, o := range outcomes {
		if _, err := fmt.Fprintf(streams.Out, "%s %s: %s\n%s", o.Kind, o.Name, o.Result, o.Difference); err != nil {
			return err
		}
	}
	return nil
}
