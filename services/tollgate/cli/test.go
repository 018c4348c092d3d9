package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tollgate/tollgate/pkg/channel"
	"github.com/tollgate/tollgate/pkg/channel/table"
	deliveryv1 "github.com/tollgate/tollgate/proto/gen/tollgate/delivery/v1"
	"github.com/tollgate/tollgate/services/tollgate/cli/command"
	"github.com/tollgate/tollgate/services/tollgate/manifest"
	"github.com/tollgate/tollgate/services/tollgate/process"
)

// testCommand sends a test.
type testCommand struct {
	command.Key
	command.Listing
	Channel string `arg:"" help:"The channel: ${channels}."`
	Name    string `arg:"" optional:"" help:"Full name of what is sent to, or its id beside --tenant."`
	File    string `short:"f" help:"Send to the one document of this file instead, which need not be stored." placeholder:"FILE"`
	To      string `help:"Address that the test goes to; required by a channel that reaches people, and only there." placeholder:"ADDRESS"`
	Type    string `help:"Type of the sample event, where the channel sends one; safeguard.alert by default." placeholder:"TYPE"`
	Tenant  string `env:"TOLLGATE_TENANT" help:"Id of the tenant, where the name does not have it." placeholder:"ID"`
	Address string `help:"Service of the channel; TOLLGATE_<CHANNEL>_ADDR, or the port it has by default." placeholder:"HOST:PORT"`
}

// Help is shown below the flags.
func (testCommand) Help() string {
	return `Sends once, as deliveries are sent: with the address, authentication, time limits and outbound policy that deliveries have.
An endpoint gets a sample event, signed; an address gets a short message, and each step of the conversation with the
server is shown with its answer. A draft, a paused and a suspended one are sent to as well. Nothing is recorded, and health
does not change. Secrets are masked in what is shown.

Exit code 1 where the receiver does not take it.

Example:

    tollgate test ` + channelName(false) + ` crm --tenant acme

    tollgate test ` + channelName(false) + ` -f endpoint.yaml --type usage.charged -o json

    tollgate test ` + channelName(true) + ` billing --tenant acme --to me@example.com`
}

// channelName is the first channel that reaches people, or the first that does not.
func channelName(people bool) string {
	served := table.Channels.Served()
	return served[slices.IndexFunc(served, func(c *channel.Channel) bool { return reachesPeople(c) == people })].Name
}

// reachesPeople: a test needs somebody to go to.
func reachesPeople(c *channel.Channel) bool { return c.NoContact == "" }

// AfterApply is called by kong once the flags are read.
func (c testCommand) AfterApply() error {
	found, err := c.channel()
	if err != nil {
		return err
	}
	if (c.Name == "") == (c.File == "") {
		return command.UsageError("either NAME or --file is required")
	}
	switch people := reachesPeople(found); {
	case people && c.To == "":
		return command.UsageError("--to is required: the address that the test goes to")
	case people && c.Type != "":
		return command.UsageError("--type can't be used with " + found.Name + ": its test is no event")
	case !people && c.To != "":
		return command.UsageError("--to can't be used with " + found.Name + ": it sends to NAME itself")
	}
	if c.File == "" {
		if _, err := manifest.NameOf(found.Target.Name, c.Tenant, c.Name); err != nil {
			return command.UsageError("NAME " + err.Error())
		}
	}
	return nil
}

func (c testCommand) channel() (*channel.Channel, error) {
	served := table.Channels.Served()
	i := slices.IndexFunc(served, func(known *channel.Channel) bool { return known.Name == c.Channel })
	if i < 0 {
		return nil, command.UsageError(fmt.Sprintf("CHANNEL must be one of %s, not %q", strings.Join(served.Names(), ", "), c.Channel))
	}
	return served[i], nil
}

// address is that of the channel's service.
func (c testCommand) address() string {
	if c.Address != "" {
		return c.Address
	}
	if known := os.Getenv("TOLLGATE_" + strings.ToUpper(c.Channel) + "_ADDR"); known != "" {
		return known
	}
	p, _ := process.Find(c.Channel)
	return p.Default().Parts.GRPC.Listen
}

// Run sends.
func (c testCommand) Run(ctx context.Context, streams command.Streams) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	conn, err := c.Dial(c.address())
	if err != nil {
		return err
	}
	defer command.Close(conn)
	answer, err := deliveryv1.NewTestServiceClient(conn).SendTest(ctx, req)
	if err != nil {
		return explained(c.Channel, c.address(), err)
	}
	if c.Output == "table" {
		err = command.Write(c.Listing, streams.Out, testLines(answer), []string{"test", "value"}, func(l [2]string) []string { return l[:] })
	} else {
		var raw []byte
		if raw, err = protojson.Marshal(answer); err == nil {
			err = command.Write(c.Listing, streams.Out, []json.RawMessage{raw}, nil, nil)
		}
	}
	if err != nil {
		return err
	}
	// A code of success may be the answer to a step before the last.
	if a := answer.GetAttempt(); a.GetStatus() < 200 || a.GetStatus() > 299 || a.GetErrorClass() != "" {
		return fmt.Errorf("the receiver did not take it: %s", resultOf(answer.GetAttempt()))
	}
	return nil
}

func (c testCommand) request() (*deliveryv1.SendTestRequest, error) {
	found, err := c.channel()
	if err != nil {
		return nil, err
	}
	req := &deliveryv1.SendTestRequest{Type: c.Type, To: c.To}
	if c.File == "" {
		name, err := manifest.NameOf(found.Target.Name, c.Tenant, c.Name)
		req.Target = &deliveryv1.SendTestRequest_Name{Name: name}
		return req, err
	}
	docs, err := manifest.Read(c.File)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, command.UsageError(fmt.Sprintf("%s must have one document, has %d", c.File, len(docs)))
	}
	m, given := req.ProtoReflect(), docs[0].Resource.ProtoReflect()
	fields := m.Descriptor().Oneofs().ByName("target").Fields()
	for i := range fields.Len() {
		if of := fields.Get(i).Message(); of != nil && of.FullName() == given.Descriptor().FullName() && string(of.Name()) == found.Target.Name {
			m.Set(fields.Get(i), protoreflect.ValueOfMessage(given))
			return req, nil
		}
	}
	return nil, command.UsageError(fmt.Sprintf("%s must have a document of kind %s", c.File, found.Target.Name))
}

// resultOf is what became of an attempt, in a few words.
func resultOf(a *deliveryv1.Attempt) string {
	failed := a.GetErrorClass() + ": " + a.GetError()
	switch {
	case a.GetStatus() == 0:
		return failed
	case a.GetErrorClass() != "":
		return fmt.Sprintf("status %d, %s", a.GetStatus(), failed)
	}
	return fmt.Sprintf("status %d", a.GetStatus())
}

func testLines(answer *deliveryv1.SendTestResponse) [][2]string {
	a := answer.GetAttempt()
	lines := [][2]string{{"result", resultOf(a)}, {"delivery", a.GetDelivery()}, {"started", at(a.GetStarted())}}
	add := func(name string, d *durationpb.Duration) {
		if d != nil {
			lines = append(lines, [2]string{name, d.AsDuration().Round(time.Microsecond).String()})
		}
	}
	p := a.GetPhases()
	add("name resolution", p.GetDns())
	add("connection", p.GetConnect())
	add("tls handshake", p.GetTls())
	add("wait for the response", p.GetWait())
	add("in all", p.GetTotal())
	if a.GetRepeatedRequest() {
		lines = append(lines, [2]string{"repeated", "yes: the receiver may have it twice"})
	}
	for _, step := range a.GetSteps() {
		answer := fmt.Sprintf("%s (%s)", step.GetAnswer(), step.GetDuration().AsDuration().Round(time.Microsecond))
		lines = append(lines, [2]string{"step " + step.GetName(), answer})
	}
	headers := func(of string, all []*deliveryv1.Header) {
		for _, h := range all {
			lines = append(lines, [2]string{of + " " + strings.ToLower(h.GetName()), h.GetValue()})
		}
	}
	headers("request", a.GetRequestHeaders())
	lines = append(lines, [2]string{"request body", string(answer.GetBody())})
	headers("response", a.GetResponseHeaders())
	if len(a.GetResponseBody()) > 0 {
		lines = append(lines, [2]string{"response body", strings.ToValidUTF8(string(a.GetResponseBody()), "\uFFFD")})
	}
	return lines
}
