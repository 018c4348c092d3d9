package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// applyCommand brings configuration in.
type applyCommand struct {
	command.Key
	command.Listing
	File    string   `short:"f" required:"" xor:"source" help:"YAML file, or folder of them; - reads standard input." placeholder:"FILE|DIR|-"`
	Profile []string `required:"" xor:"source" help:"Instead of a file: a ready profile, see tollgate profiles list; several for several options." placeholder:"NAME"`
	Tenant  string   `help:"With --profile: the tenant." placeholder:"ID"`
	Class   string   `help:"With --profile: the class of service, new or there already, whose other options stay as they are." placeholder:"ID"`
	DryRun  bool     `help:"Change nothing, show what would change."`
	// Prune and Label: what has the labels and is no document is deleted.
	Prune   bool              `help:"Delete what has the labels, is of a tenant of the documents, and is none of them."`
	Label   map[string]string `short:"l" help:"With --prune: a label that each document has; several for several." placeholder:"KEY=VALUE"`
	Address string            `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (applyCommand) Help() string {
	return `Each document is one resource: its kind (Tenant, ClassOfService, Endpoint, Notification), its name, and its
fields; --- separates documents in a file. Where a document is invalid, nothing is changed and all violations are
reported at once. Applying the same again changes nothing.

With --prune what has the labels is deleted where it is no document any more, those that name others first; tenants never are.
--dry-run shows what would be. What is deleted can be brought back for 30 days.

With --profile a class of service gets the safeguard that a law or a practice requires.

Example:

    tollgate apply -f acme.yaml --dry-run

    tollgate apply -f acme.yaml

    tollgate apply -f acme/ --prune -l managed-by=git --dry-run

    tollgate get endpoints --tenant acme -o yaml | tollgate apply -f - --dry-run

    tollgate apply --profile eu-roaming --profile eu-psd2 --tenant acme --class consumer`
}

// Run applies.
func (c applyCommand) Run(ctx context.Context, streams command.Streams) error {
	if ofProfiles := len(c.Profile) > 0; ofProfiles != (c.Tenant != "") || ofProfiles != (c.Class != "") {
		return command.UsageError("--profile, --tenant and --class go together")
	}
	if c.Prune != (len(c.Label) > 0) || c.Prune && len(c.Profile) > 0 {
		return command.UsageError("--prune and --label go together, beside --file")
	}
	var documents []manifest.Document
	var err error
	var unread manifest.Violations
	if c.File != "" {
		if documents, err = c.read(streams.In); err != nil && !errors.As(err, &unread) {
			return err
		}
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	if len(c.Profile) > 0 {
		class := "tenants/" + c.Tenant + "/classesOfService/" + c.Class
		if documents, err = manifest.OfProfiles(ctx, conn, class, c.Profile); err != nil && !errors.As(err, &unread) {
			return fmt.Errorf("configuration service at %s: %w", c.Address, err)
		}
	}
	if c.Prune {
		unread = append(unread, manifest.Unlabelled(documents, c.Label)...)
	}
	if len(unread) > 0 {
		// The violations of the others are reported too, where the service can be reached.
		var wrong manifest.Violations
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
	if c.Prune && err == nil {
		var pruned []manifest.Outcome
		pruned, err = manifest.Prune(ctx, conn, documents, c.Label, c.DryRun)
		outcomes = append(outcomes, pruned...)
	}
	var wrong manifest.Violations
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

// maxApplied is what standard input may bring: hundreds of the largest resources.
const maxApplied = 64 << 20

// read reads the documents of a file, a folder or standard input.
func (c applyCommand) read(in io.Reader) ([]manifest.Document, error) {
	if c.File != "-" {
		return manifest.Read(c.File)
	}
	content, err := io.ReadAll(io.LimitReader(in, maxApplied+1))
	if err != nil {
		return nil, fmt.Errorf("read resources: %w", err)
	}
	if len(content) > maxApplied {
		return nil, fmt.Errorf("read resources: standard input is longer than %d MiB; apply it in parts", maxApplied>>20)
	}
	return manifest.Parse("standard input", content)
}

func (c applyCommand) list(streams command.Streams, outcomes []manifest.Outcome) error {
	return command.Write(c.Listing, streams.Out, outcomes, []string{"kind", "name", "result"}, func(o manifest.Outcome) []string {
		if o.Secret != "" {
			o.Result += "; its secret, shown this once: " + o.Secret
		}
		return []string{o.Kind, o.Name, o.Result}
	})
}

func (c applyCommand) differences(streams command.Streams, outcomes []manifest.Outcome) error {
	for _, o := range outcomes {
		if _, err := fmt.Fprintf(streams.Out, "%s %s: %s\n%s", o.Kind, o.Name, o.Result, o.Difference); err != nil {
			return err
		}
	}
	return nil
}
