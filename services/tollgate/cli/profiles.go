package cli

import (
	"github.com/tollgate/tollgate/pkg/profile"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// listProfiles lists the ready classes of service.
type listProfiles struct {
	command.Listing
}

// Help is shown below the flags.
func (listProfiles) Help() string {
	return `Each profile is one safeguard as a law or a practice has it: its limit, notices, states, and whether VAT counts.

Example:

    tollgate profiles list

    tollgate profiles show eu-roaming > class.yaml

    tollgate apply --profile eu-roaming --profile eu-psd2 --tenant acme --class consumer --dry-run`
}

// shownProfile is a row.
type shownProfile struct {
	Name string `json:"name"`
	Law  string `json:"law"`
}

// Run lists.
func (c listProfiles) Run(streams command.Streams) error {
	var rows []shownProfile
	for _, p := range profile.All() {
		rows = append(rows, shownProfile{p.Name, p.Law})
	}
	return command.Write(c.Listing, streams.Out, rows, []string{"name", "law"}, func(p shownProfile) []string { return []string{p.Name, p.Law} })
}

// showProfile prints a profile's file.
type showProfile struct {
	Name string `arg:"" help:"One of those that tollgate profiles list names."`
}

// Help is shown below the flags.
func (showProfile) Help() string {
	return `Prints the class of service, with the source of each value beside it: change its name and what is yours to decide, and
apply the file.

Example:

    tollgate profiles show uk-bill-limit > class.yaml`
}

// Run prints.
func (c showProfile) Run(streams command.Streams) error {
	source, err := profile.Source(c.Name)
	if err != nil {
		return command.UsageError(err.Error())
	}
	_, err = streams.Out.Write(source)
	return err
}
