// Package changes has the commands about the history of the configuration: who changed what, and back to what was.
package changes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tollgate/tollgate/pkg/display"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
)

// History shows changes of the configuration, the newest first.
type History struct {
	command.Key
	Name    string        `arg:"" optional:"" help:"Full name of a resource; every one without it."`
	Tenant  string        `env:"TOLLGATE_TENANT" help:"Id of a tenant; all without it." placeholder:"ID"`
	Kind    string        `help:"Only resources of this kind, such as Notification." placeholder:"KIND"`
	Since   time.Duration `help:"Only changes of this last while, such as 24h." placeholder:"DURATION"`
	Limit   int           `default:"50" help:"At most this many; ${default} by default."`
	Address string        `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
	command.Listing
}

// Help is shown below the flags.
func (History) Help() string {
	return `Each line is one field of one change: the revision that it made, when, by whose API key (the beginning of its SHA-256), and
the value before and after. Secrets are masked: that one has changed is shown, and not to what.

Example:

    tollgate config history tenants/acme/notifications/low-balance

    tollgate config history --tenant acme --since 24h -o json`
}

// AfterApply is called by kong once the flags are read.
func (c History) AfterApply() error {
	if c.Limit < 1 {
		return command.UsageError("--limit must be 1 or more")
	}
	return nil
}

// row is a field of a change.
type row struct {
	Revision int64           `json:"revision"`
	Time     time.Time       `json:"time"`
	Caller   string          `json:"caller"`
	Action   string          `json:"action"`
	Kind     string          `json:"kind"`
	Name     string          `json:"name"`
	Field    string          `json:"field,omitempty"`
	Before   json.RawMessage `json:"before,omitempty"`
	After    json.RawMessage `json:"after,omitempty"`
	Secret   bool            `json:"secret,omitempty"`
	Pruned   bool            `json:"pruned,omitempty"`
}

// Run reads.
func (c History) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	req := &configv1.ListChangesRequest{Parent: "tenants/-", Kind: c.Kind, Name: c.Name, PageSize: int32(min(c.Limit, 1000))}
	switch parts := strings.SplitN(c.Name, "/", 3); {
	case len(parts) > 1 && parts[0] == "tenants":
		req.Parent = "tenants/" + parts[1]
	case c.Tenant != "":
		req.Parent = "tenants/" + c.Tenant
	}
	if c.Since > 0 {
		req.StartTime = timestamppb.New(time.Now().Add(-c.Since))
	}
	var rows []row
	for n := 0; n < c.Limit; {
		page, err := configv1.NewChangeServiceClient(conn).ListChanges(ctx, req)
		if err != nil {
			return fmt.Errorf("configuration service at %s: %w", c.Address, err)
		}
		for _, change := range page.GetChanges() {
			if n == c.Limit {
				break
			}
			n++
			more, err := rowsOf(change)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	return command.Write(c.Listing, streams.Out, rows, []string{"revision", "time", "by", "action", "name", "field", "before", "after"}, row.cells)
}

func (r row) cells() []string {
	after := string(r.After)
	switch {
	case r.Secret:
		after += " (changed)"
	case r.Pruned:
		after = "(not kept any more)"
	}
	return []string{
		fmt.Sprint(r.Revision), r.Time.Format(time.RFC3339), r.Caller, r.Action, display.Text(r.Name, command.MaxCell), r.Field,
		display.Text(string(r.Before), command.MaxCell), display.Text(after, command.MaxCell),
	}
}

// rowsOf has a row for each field, and one for a change without.
func rowsOf(c *configv1.Change) ([]row, error) {
	one := row{
		Revision: c.GetRevision(), Time: c.GetTime().AsTime(), Caller: c.GetCaller(), Action: c.GetAction(), Kind: c.GetKind(), Name: c.GetName(), Pruned: c.GetPruned(),
	}
	if len(c.GetFields()) == 0 {
		return []row{one}, nil
	}
	var all []row
	for _, f := range c.GetFields() {
		var before, after error
		r := one
		r.Field, r.Secret = f.GetPath(), f.GetSecret()
		r.Before, before = textOf(f.Before)
		r.After, after = textOf(f.After)
		if err := errors.Join(before, after); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func textOf(v *structpb.Value) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	loose, err := protojson.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a value: %w", err)
	}
	return json.Marshal(json.RawMessage(loose))
}

// Restore brings a resource back to what it was.
type Restore struct {
	command.Key
	Name     string `arg:"" help:"Full name of the resource."`
	Revision int64  `required:"" help:"Revision at which it was what it is to be again; tollgate config history shows them." placeholder:"N"`
	DryRun   bool   `help:"Show what would change, and change nothing."`
	Address  string `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
	command.Listing
}

// Help is shown below the flags.
func (Restore) Help() string {
	return `The resource becomes what it was at that revision, its secrets included. It is a change like every other: checked, with a revision
of its own, and it can be taken back in the same way. What was deleted since comes back, within 30 days.

Example:

    tollgate config restore-version tenants/acme/notifications/low-balance --revision 4711 --dry-run`
}

// Run restores.
func (c Restore) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	answer, err := configv1.NewChangeServiceClient(conn).RestoreResource(ctx, &configv1.RestoreResourceRequest{
		Name: c.Name, Revision: c.Revision, ValidateOnly: c.DryRun,
	})
	if err != nil {
		return fmt.Errorf("configuration service at %s: %w", c.Address, err)
	}
	rows, err := rowsOf(answer.GetChange())
	if err != nil {
		return err
	}
	return command.Write(c.Listing, streams.Out, rows, []string{"revision", "time", "by", "action", "name", "field", "before", "after"}, row.cells)
}
