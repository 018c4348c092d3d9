package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/catalog"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/cli/eventtypes"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// Resources are the flags and the argument of commands about resources of the configuration.
type Resources struct {
	command.Key
	Kind    string `arg:"" help:"${kinds}; plurals too, in any capitals."`
	Tenant  string `env:"TOLLGATE_TENANT" help:"Id of the tenant, where the name does not have it." placeholder:"ID"`
	Address string `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// kind is the kind as documents have it.
func (r Resources) kind() (string, error) {
	kind, err := manifest.Kind(r.Kind)
	if err != nil {
		return "", command.UsageError("KIND " + err.Error())
	}
	return kind, nil
}

// named is the kind and the full name of one.
func (r Resources) named(typed string) (kind, name string, err error) {
	if kind, err = r.kind(); err != nil {
		return "", "", err
	}
	if name, err = manifest.NameOf(kind, r.Tenant, typed); err != nil {
		return "", "", command.UsageError("NAME " + err.Error())
	}
	return kind, name, nil
}

// getCommand shows configuration.
type getCommand struct {
	Resources
	Name    string            `arg:"" optional:"" help:"Full name, or the id beside --tenant; all of the tenant without it."`
	Label   map[string]string `short:"l" help:"Only those with this label; several for several." placeholder:"KEY=VALUE"`
	Filter  string            `help:"Only those for which this holds: fields and labels that equal a value, joined by AND." placeholder:"FILTER"`
	OrderBy string            `name:"order-by" help:"Fields to order by, each with desc behind it where it descends; by name by default." placeholder:"FIELDS"`
	Schema  bool              `help:"Of one event type, a tenant's own too: the JSON Schema of its events as CloudEvents in JSON."`
	command.Listing
}

// Help is shown below the flags.
func (getCommand) Help() string {
	return `-o yaml writes documents as "tollgate apply" reads them. Secrets are masked: put them in before such a document is
applied to another installation.

Example:

    tollgate get ClassOfService --tenant acme

    tollgate get ClassOfService gold --tenant acme -o yaml

    tollgate get endpoints --tenant acme -l team=billing --filter 'paused = true' --order-by 'metadata.update_time desc'

    tollgate get eventtypes usage.charged

    tollgate get eventtypes order.placed --tenant acme --schema`
}

// AfterApply is called by kong once the flags are read.
func (c getCommand) AfterApply() error {
	kind, err := c.kind()
	switch {
	case err != nil:
		return err
	case c.Schema && (kind != "EventType" || c.Name == ""):
		return command.UsageError("--schema is for one EventType, with its NAME")
	case c.Name != "" && (len(c.Label) > 0 || c.Filter != "" || c.OrderBy != ""):
		return command.UsageError("--label, --filter and --order-by are for lists, not beside NAME")
	case c.Name != "":
		_, _, err = c.named(c.Name)
		return err
	case c.Tenant == "" && kind != "Tenant" && !manifest.HasBuiltIn(kind):
		return command.UsageError("--tenant is required where no full name is given")
	}
	return nil
}

// Run reads.
func (c getCommand) Run(ctx context.Context, streams command.Streams) error {
	kind, err := c.kind()
	if err != nil {
		return err
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	var all []manifest.Resource
	if c.Name == "" {
		all, err = manifest.List(ctx, conn, kind, c.Tenant, manifest.Query{Filter: manifest.WithLabels(c.Label, c.Filter), OrderBy: c.OrderBy})
	} else {
		var name string
		if _, name, err = c.named(c.Name); err != nil {
			return err
		}
		var one manifest.Resource
		if one, err = manifest.Get(ctx, conn, kind, name); err == nil {
			all = []manifest.Resource{one}
		}
	}
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	if c.Name != "" && all[0].GetMetadata().GetDeleteTime() != nil {
		return fmt.Errorf("%s was deleted at %s; the Undelete call of its service brings it back", all[0].GetName(), at(all[0].GetMetadata().GetDeleteTime()))
	}
	types := eventtypes.Of(all)
	switch {
	case c.Schema && len(types) == 1:
		_, err := fmt.Fprint(streams.Out, catalog.JSONSchema(types[0]))
		return err
	case c.Output == "yaml":
		return manifest.Write(streams.Out, kind, all)
	case c.Output == "json":
		return writeMessages(streams, all)
	case types != nil:
		return eventtypes.Write(c.Listing, streams, types, c.Name != "")
	}
	return command.Write(c.Listing, streams.Out, all, []string{"name", "revision", "updated"}, func(r manifest.Resource) []string {
		return []string{r.GetName(), fmt.Sprint(r.GetMetadata().GetRevision()), at(r.GetMetadata().GetUpdateTime())}
	})
}

// writeMessages writes a list of messages in Protobuf's JSON, indented as other lists are.
func writeMessages[M proto.Message](streams command.Streams, all []M) error {
	raw := make([]json.RawMessage, len(all))
	for i, m := range all {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		raw[i] = text
	}
	e := json.NewEncoder(streams.Out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(raw)
}

// deleteCommand deletes configuration.
type deleteCommand struct {
	Resources
	Name  string `arg:"" help:"Full name, or the id beside --tenant."`
	Force bool   `help:"Delete a class of service although subscribers may have it."`
}

// Help is shown below the flags.
func (deleteCommand) Help() string {
	return `What is deleted can be brought back for 30 days, by the Undelete call of its service. A class of
service is deleted only with --force: of subscribers who have it usage is rejected then (CLASS_OF_SERVICE_UNKNOWN; it can
be sent again later), and Authorize and Charge answer by on_unknown with UNKNOWN.

Example:

    tollgate delete Notification data-safeguard --tenant acme`
}

// AfterApply is called by kong once the flags are read.
func (c deleteCommand) AfterApply() error {
	kind, _, err := c.named(c.Name)
	if err == nil && c.Force && kind != "ClassOfService" {
		err = command.UsageError("--force is for a ClassOfService")
	}
	return err
}

// Run deletes.
func (c deleteCommand) Run(ctx context.Context, streams command.Streams) error {
	kind, name, err := c.named(c.Name)
	if err != nil {
		return err
	}
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	gone, err := manifest.Delete(ctx, conn, kind, name, c.Force)
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	_, err = fmt.Fprintf(streams.Out, "%s %s: deleted in revision %d\n", kind, name, gone.GetMetadata().GetRevision())
	return err
}
