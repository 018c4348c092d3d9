// Package hooks has the commands about hooks: what is asked in which order, a test, another order.
package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tollgate/tollgate/pkg/hook"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// kindHook is the kind as documents have it.
const kindHook = "Hook"

// Hooks are the flags of commands about hooks.
type Hooks struct {
	command.Key
	command.Listing
	Tenant  string `env:"TOLLGATE_TENANT" help:"Id of the tenant, where names do not have it." placeholder:"ID"`
	Address string `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
}

// named is the full name of a hook that was typed.
func (h Hooks) named(typed string) (string, error) {
	name, err := manifest.NameOf(kindHook, h.Tenant, typed)
	if err != nil {
		return "", command.UsageError("NAME " + err.Error())
	}
	return name, nil
}

func (h Hooks) explained(err error) error {
	return fmt.Errorf("configuration service at %s: %w", h.Address, err)
}

// inOrder are a tenant's hooks in the order in which they are asked, of one type where one is given.
func (h Hooks) inOrder(ctx context.Context, conn *grpc.ClientConn, tenant, eventType string, archived bool) ([]*configv1.Hook, error) {
	found, err := manifest.List(ctx, conn, kindHook, tenant, manifest.Query{})
	if err != nil {
		return nil, h.explained(err)
	}
	var all []*configv1.Hook
	for _, r := range found {
		one, ok := r.(*configv1.Hook)
		if !ok || one.GetStatus() == configv1.HookStatus_HOOK_STATUS_ARCHIVED && !archived || eventType != "" && !slices.Contains(one.GetEventTypes(), eventType) {
			continue
		}
		all = append(all, one)
	}
	slices.SortFunc(all, hook.Order)
	return all, nil
}

// write lists hooks.
func (h Hooks) write(streams command.Streams, all []*configv1.Hook) error {
	if h.Output != "table" {
		rows := make([]json.RawMessage, len(all))
		for i, one := range all {
			var err error
			if rows[i], err = inJSON(one); err != nil {
				return err
			}
		}
		return command.Write(h.Listing, streams.Out, rows, nil, nil)
	}
	return command.Write(h.Listing, streams.Out, all, []string{"priority", "name", "status", "kind", "event types", "failure policy", "asks"}, func(one *configv1.Hook) []string {
		kind, asks := kindOf(one)
		return []string{
			fmt.Sprint(one.GetPriority()), one.GetName(), statusWord(one), kind, strings.Join(one.GetEventTypes(), ", "),
			word(one.GetFailurePolicy().String(), "FAILURE_POLICY_"), asks,
		}
	})
}

// inJSON goes through JSON once more: Protobuf's own spaces vary from build to build.
func inJSON(m proto.Message) (json.RawMessage, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return json.Marshal(json.RawMessage(raw))
}

func kindOf(h *configv1.Hook) (kind, asks string) {
	switch of := h.GetHandler().(type) {
	case *configv1.Hook_Http:
		return "http", of.Http.GetUrl()
	case *configv1.Hook_Script:
		return "script", of.Script.GetPath()
	}
	return "", ""
}

func statusWord(h *configv1.Hook) string {
	if h.GetStatus() == configv1.HookStatus_HOOK_STATUS_UNSPECIFIED {
		return "enabled"
	}
	return word(h.GetStatus().String(), "HOOK_STATUS_")
}

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// List shows hooks.
type List struct {
	Hooks
	EventType string `help:"Only the hooks of this event type." placeholder:"TYPE"`
	Archived  bool   `help:"Archived ones too."`
}

// Help is shown below the flags.
func (List) Help() string {
	return `The hooks of a tenant in the order in which they are asked: lower priorities first, those of one priority by name.

Example:

    tollgate hooks list --tenant acme

    tollgate hooks list --tenant acme --event-type client.created -o json`
}

// AfterApply is called by kong once the flags are read.
func (c List) AfterApply() error {
	if c.Tenant == "" {
		return command.UsageError("--tenant is required")
	}
	return nil
}

// Run lists.
func (c List) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	all, err := c.inOrder(ctx, conn, c.Tenant, c.EventType, c.Archived)
	if err != nil {
		return err
	}
	return c.write(streams, all)
}

// Reorder gives hooks another order.
type Reorder struct {
	Hooks
	Names     []string `arg:"" name:"name" help:"Full names in the new order, or ids beside --tenant: every hook that hooks list shows."`
	EventType string   `help:"Only the hooks of this event type; all of the tenant by default." placeholder:"TYPE"`
	DryRun    bool     `help:"Change nothing, show what the order would be."`
}

// Help is shown below the flags.
func (Reorder) Help() string {
	return `All hooks change their places in one step. Those that move take over the priorities of the others; where two are equal the
later one gets the next higher. Whoever keeps hooks in files changes the priorities there too, or the next apply brings them back.

Example:

    tollgate hooks reorder normalize credit-check blacklist --tenant acme

    tollgate hooks reorder credit-check normalize --tenant acme --event-type client.created --dry-run`
}

// AfterApply is called by kong once the flags are read.
func (c Reorder) AfterApply() error {
	for _, typed := range c.Names {
		if _, err := c.named(typed); err != nil {
			return err
		}
	}
	return nil
}

// Run reorders.
func (c Reorder) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	req := &configv1.ReorderRequest{EventType: c.EventType, ValidateOnly: c.DryRun}
	for _, typed := range c.Names {
		name, err := c.named(typed)
		if err != nil {
			return err
		}
		req.Hooks = append(req.Hooks, name)
	}
	tenant := strings.Split(req.GetHooks()[0], "/")[1]
	req.Parent = "tenants/" + tenant
	before, err := c.inOrder(ctx, conn, tenant, c.EventType, false)
	if err != nil {
		return err
	}
	for _, h := range before {
		req.Expected = append(req.Expected, h.GetName())
	}
	made, err := configv1.NewHookServiceClient(conn).Reorder(ctx, req)
	if err != nil {
		return c.explained(err)
	}
	return c.write(streams, made.GetHooks())
}
