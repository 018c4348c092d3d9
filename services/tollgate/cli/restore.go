package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/tollgate/tollgate/pkg/fault"
	configv1 "github.com/tollgate/tollgate/proto/gen/tollgate/config/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/cli/records"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
)

// acceptRestore accepts that the configuration was set back, or begun anew.
type acceptRestore struct {
	command.Key
	command.Kafka
	Address string   `name:"config" env:"TOLLGATE_CONFIG_ADDR" default:"127.0.0.1:7010" help:"Configuration service; ${default} by default." placeholder:"HOST:PORT"`
	History []string `help:"Only these histories, as they are shown; all that are in force without it." placeholder:"HEX"`
	Why     string   `help:"Why it is accepted; kept with the revision."`
	Yes     bool     `help:"Do not ask."`
}

// Help is shown below the flags.
func (acceptRestore) Help() string {
	return `Each service stores the newest revision it has used. Where the database of the configuration service was restored from a
backup, or created again, services go on with the configuration they have, are not ready, and report it. This command shows
the revisions that they know and the database does not have. Once accepted, these are lost: the database continues above
the highest of them, with its present configuration, and the services follow. What was deleted meanwhile comes back with it,
withdrawn keys too: the command lists it, by the topic audit, so that it can be deleted again. A revision that a log names and no service
has is read as the present one from then on, so partitions that wait for one (REVISION_MISSING) go on too.

Look at what the database has before you accept (tollgate get), and keep every service running meanwhile: a service
that was down and knows more does not follow afterwards, and reports it; then accept once more.

A revision that only a log names, and no service uses, is accepted only where --history names it: whoever can write
to Kafka can write that.

Example:

    tollgate config accept-restore --why "database lost, backup of Monday, INC-4712"`
}

// Run shows, asks and accepts.
func (c acceptRestore) Run(ctx context.Context, streams command.Streams) error {
	conn, err := c.Dial(c.Address)
	if err != nil {
		return err
	}
	defer command.Close(conn)
	client := configv1.NewHistoryServiceClient(conn)
	h, err := client.GetHistory(ctx, &configv1.GetHistoryRequest{})
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	fmt.Fprintf(streams.Out, "here: revision %d of history %016x\n", h.GetNewest().GetRevision(), h.GetNewest().GetHistory())
	lost, err := c.lost(streams, h)
	if err != nil {
		return err
	}
	if len(lost) == 0 {
		_, err := fmt.Fprintln(streams.Out, "no service works by anything else: nothing to accept")
		return err
	}
	if err := c.revived(ctx, streams, conn); err != nil {
		fmt.Fprintf(streams.Out, "what was deleted and comes back is not known: %v\n", err)
	}
	if strings.TrimSpace(c.Why) == "" {
		return command.UsageError("--why must not be empty, for this to be accepted")
	}
	if err := c.confirm(streams, lost); err != nil {
		return err
	}
	h, err = client.AcceptRestore(ctx, &configv1.AcceptRestoreRequest{Lost: lost, Who: command.Operator(), Why: c.Why})
	if err != nil {
		return explained("configuration", c.Address, err)
	}
	_, err = fmt.Fprintf(streams.Out, "accepted: services follow from revision %d of history %016x on\n", h.GetNewest().GetRevision(), h.GetNewest().GetHistory())
	return err
}

// lost shows what services know and the database does not have, and picks what is to be accepted.
func (c acceptRestore) lost(streams command.Streams, h *configv1.History) ([]*configv1.Position, error) {
	picked := make(map[string]bool, len(c.History))
	for _, name := range c.History {
		picked[strings.ToLower(name)] = true
	}
	var lost []*configv1.Position
	for _, u := range h.GetUnknown() {
		name, how := fmt.Sprintf("%016x", u.GetPosition().GetHistory()), "named by a log"
		if u.GetInForce() {
			how = "in force"
		}
		fmt.Fprintf(streams.Out, "not here: revision %d of history %s, %s, reported by %s at %s\n",
			u.GetPosition().GetRevision(), name, how, u.GetPeer(), u.GetReportedTime().AsTime().UTC().Format(time.RFC3339))
		if picked[name] || len(c.History) == 0 && u.GetInForce() {
			lost = append(lost, u.GetPosition())
		}
		delete(picked, name)
	}
	for name := range picked {
		return nil, command.UsageError(fmt.Sprintf("--history %s is none of those shown", name))
	}
	return lost, nil
}

// revived lists what was deleted, by the topic audit, and stands in the database.
func (c acceptRestore) revived(ctx context.Context, streams command.Streams, conn *grpc.ClientConn) error {
	client, err := c.Open()
	if err != nil {
		return err
	}
	defer command.Close(client)
	deleted, err := records.Deleted(ctx, client, streams, c.Kafka)
	if err != nil {
		return err
	}
	for _, r := range deleted {
		d := r.GetChange()
		kind, err := manifest.Kind(d.GetKind())
		if err != nil { // of a newer binary
			return err
		}
		now, err := manifest.Get(ctx, conn, kind, d.GetName())
		switch {
		case fault.KindOf(err) == fault.NotFound || err == nil && now.GetMetadata().GetDeleteTime() != nil:
			continue
		case err != nil:
			return err
		}
		fmt.Fprintf(streams.Out, "comes back: %s %s, deleted by %s at %s\n", d.GetKind(), d.GetName(), r.GetCaller(), at(r.GetTime()))
	}
	return nil
}

func (c acceptRestore) confirm(streams command.Streams, lost []*configv1.Position) error {
	if c.Yes {
		return nil
	}
	if !command.IsTerminal(streams.In) || !command.IsTerminal(streams.Err) {
		return command.UsageError("--yes is required without a terminal to ask at")
	}
	fmt.Fprintf(streams.Err, "What these %d histories have and the database does not will be lost for good, and its configuration takes their place. Type the word accept to go on: ", len(lost))
	answer, err := bufio.NewReader(streams.In).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "accept" {
		return errors.New("not accepted, nothing was changed")
	}
	return nil
}
